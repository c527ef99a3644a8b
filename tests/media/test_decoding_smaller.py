"""Pictures and videos that are shrunk while they are decoded."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mmrl.config.schema import MediaConfig
from mmrl.media.image import decode_image
from mmrl.media.video import decode_video
from mmrl.media.writers import write_mp4
from mmrl.types import Medium


def test_a_jpeg_is_decoded_no_larger_than_needed_and_never_smaller(tmp_path):
    from PIL import Image

    pixels = cv2.resize(
        np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8), (1200, 900)
    )
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    medium = Medium(kind="image", source=tmp_path / "a.jpg")
    sizes = {
        side: decode_image(medium, MediaConfig(), "", longer_side=side).size
        for side in (2000, 1200, 601, 600, 300, 120)
    }
    assert sizes == {
        2000: (1200, 900),
        1200: (1200, 900),
        601: (1200, 900),
        600: (600, 450),
        300: (300, 225),
        120: (150, 113),
    }
    small = np.asarray(decode_image(medium, MediaConfig(), "", longer_side=300)).astype(int)
    expected = cv2.resize(pixels, (300, 225), interpolation=cv2.INTER_AREA)
    assert np.abs(small - expected).mean() < 3


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_frames_are_shrunk_while_they_are_decoded(decoder, tmp_path):
    frames = np.stack(
        [
            cv2.resize(
                np.random.default_rng(n).integers(0, 256, (6, 8, 3), dtype=np.uint8), (160, 120)
            )
            for n in range(8)
        ]
    )
    write_mp4(tmp_path / "a.mp4", frames, fps=8)
    medium = Medium(kind="video", source=tmp_path / "a.mp4")
    config = MediaConfig(video_fps=8, video_decoder=decoder)
    video = decode_video(medium, config, "", shorter_side=60)
    assert video.frames_THWC.shape == (8, 60, 80, 3)
    expected = np.stack([cv2.resize(f, (80, 60), interpolation=cv2.INTER_AREA) for f in frames])
    assert np.abs(video.frames_THWC.astype(int) - expected).mean() < 4
    assert decode_video(medium, config, "", shorter_side=200).frames_THWC.shape[1:3] == (120, 160)


@pytest.mark.parametrize("container_name", ["mp4", "mkv", "avi"])
def test_frames_are_the_same_whether_the_others_are_decoded_or_not(container_name, tmp_path):
    import av

    path = tmp_path / f"a.{container_name}"
    rng = np.random.default_rng(0)
    wide = cv2.resize(rng.integers(0, 256, (9, 30, 3), dtype=np.uint8), (400, 64))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.options = {"preset": "medium", "bf": "3", "g": "40"}
        for index in range(120):
            frame = np.ascontiguousarray(wide[:, 2 * index : 2 * index + 96])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    medium = Medium(kind="video", source=path)
    config = MediaConfig(video_fps=3, video_decoder="pyav")
    sparse = decode_video(medium, config, "", shorter_side=64)
    whole = decode_video(medium, config, "")
    assert sparse.indices == whole.indices
    assert np.array_equal(sparse.frames_THWC, whole.frames_THWC)
    assert len(whole.indices) == 14
