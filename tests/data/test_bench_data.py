from __future__ import annotations

import re
import subprocess
import sys

import cv2
import numpy as np

from mmrl.media.writers import write_mp4


def test_speeds_of_ones_own_folders_stand_next_to_decoding_alone(tmp_path):
    for kind in ("pictures", "videos"):
        (tmp_path / kind).mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.jpg"), cv2.resize(coarse, (480, 360)))
    wide = cv2.resize(rng.integers(0, 256, (8, 30, 3), dtype=np.uint8), (320, 64))
    frames = np.stack([wide[:, 2 * index : 2 * index + 96] for index in range(100)])
    write_mp4(tmp_path / "videos" / "a.mp4", frames, fps=10)
    command = [sys.executable, "-m", "mmrl", "bench", "data"]
    command += ["--pictures", str(tmp_path / "pictures"), "--videos", str(tmp_path / "videos")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()[1:]
    speeds = [re.fullmatch(r"(.+?) +([\d,]+) +([\d,]+)  (rows/s|x real time).*", x) for x in lines]
    assert [found[1].strip() for found in speeds] == [
        "jigsaw at 448 pixels",
        "jigsaw at 448 pixels",
        "check of jigsaw rows",
        "temporal jigsaw",
        "check of its rows",
    ]
    assert "1 videos, 10 s" in lines[3]
    assert "mistakes" not in done.stdout
    building, bound = (float(speeds[3][place].replace(",", "")) for place in (2, 3))
    assert building > 0
    assert bound > 0


def test_a_folder_without_pictures_is_one_line(tmp_path):
    command = [sys.executable, "-m", "mmrl", "bench", "data", "--pictures", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"mmrl: {tmp_path}: there is no image in it; give another folder\n"
