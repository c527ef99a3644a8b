from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmrl.cli import run
from mmrl.data.folder import find_media
from mmrl.data.rows import load_rows
from mmrl.data.sources import build_into
from mmrl.errors import ConfigError, DataError
from mmrl.media.writers import write_mp4, write_png, write_wav


@pytest.fixture(autouse=True)
def same_project():
    before = os.environ.get("MMRL_PROJECT")
    yield
    os.environ.pop("MMRL_PROJECT", None)
    if before is not None:
        os.environ["MMRL_PROJECT"] = before


@pytest.fixture
def mmrl(capfd):
    """Run the command line; return the exit code, standard output and lines of standard error."""

    def call(*arguments):
        code = run(["data", *map(str, arguments)])
        out, err = capfd.readouterr()
        return code, out, err.splitlines()

    return call


@pytest.fixture
def pictures(tmp_path):
    """Three pictures, one of them in a folder below."""
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    for number, path in enumerate(("a.png", "b.png", "below/c.png")):
        pixels = cv2.resize(
            np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8), (160, 160)
        )
        write_png(folder / path, pixels)
    return folder


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bomb(side):
    """A PNG of a few hundred bytes that promises side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(4096))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", body), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def spoil(folder):
    """Put everything beside the good pictures that people have in their folders."""
    (folder / "notes.txt").write_text("to do")
    (folder / "empty.jpg").touch()
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:900])
    (folder / "garbage.jpg").write_bytes(b"\xff\xd8\xff" + bytes(range(256)) * 4)
    (folder / "bomb.png").write_bytes(bomb(20_000))
    (folder / "twin.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "below" / "round").symlink_to("..")
    (folder / "self").symlink_to("self")
    (folder / "gone").symlink_to("nowhere")
    (folder / ".hidden.txt").write_text("left alone")
    os.mkfifo(folder / "pipe")
    write_mp4(folder / "film.mp4", np.zeros((4, 32, 32, 3), np.uint8), fps=4)


SPOILT = {
    "notes.txt": "it is a text file, not an image",
    "empty.jpg": "0 bytes",
    "cut.png": "Pillow cannot decode it",
    "garbage.jpg": "Pillow cannot decode it",
    "bomb.png": "20000 x 20000 pixels is more than media.limit_image_pixels",
    "twin.png": "its bytes are those of a.png",
    "below/round": "a symbolic link that leads to a folder that is read already",
    "self": "the symbolic link leads to itself",
    "gone": "the symbolic link leads nowhere",
    "pipe": "it is not a regular file",
    "film.mp4": "it is an MP4 or MOV file, not an image",
}


def test_each_thing_that_is_left_out_is_one_line_and_the_rest_goes_on(pictures, tmp_path, mmrl):
    spoil(pictures)
    out = tmp_path / "rows.jsonl"
    code, said, err = mmrl("build", "position", f"in={pictures}", f"out={out}")
    assert code == 2
    assert said == f"3 rows in {out}\n"
    assert err[-1] == f"mmrl: {len(SPOILT)} left out; --allow-skips accepts that"
    lines = {}
    for line in err[:-1]:
        path, reason = re.fullmatch(r"mmrl: (.+?): (.+); left out", line).groups()
        lines[Path(path).relative_to(pictures).as_posix()] = reason
    assert set(lines) == set(SPOILT)
    for name, reason in SPOILT.items():
        assert reason in lines[name]
    assert {row.extra["file"] for row in load_rows(out)} == {"a.png", "b.png", "below/c.png"}
    assert mmrl("check", out)[0] == 0


def test_skips_can_be_allowed(pictures, tmp_path, mmrl):
    (pictures / "notes.txt").write_text("to do")
    out = tmp_path / "rows.jsonl"
    code, said, err = mmrl("build", "position", f"in={pictures}", f"out={out}", "--allow-skips")
    assert (code, said) == (0, f"3 rows in {out}\n")
    assert len(err) == 1


def test_a_whole_folder_needs_no_leave(pictures, tmp_path, mmrl):
    code, _, err = mmrl("build", "position", f"in={pictures}", f"out={tmp_path}/rows.jsonl")
    assert (code, err) == (0, [])


@pytest.mark.parametrize("name", ["rows.jsonl", "folder", "rows.parquet"])
def test_rows_find_their_media_wherever_they_are_written(name, pictures, tmp_path, mmrl):
    out = tmp_path / "built" / name
    code, _, err = mmrl("build", "jigsaw", f"in={pictures}", f"out={out}", "grid=[2,2]")
    assert (code, err) == (0, [])
    file = out / "rows.jsonl" if name == "folder" else out
    assert mmrl("check", file)[:2] == (
        0,
        "3 rows read, 3 media decoded, 3 gold answers judged\nno mistakes\n",
    )
    left = {path.name for path in out.parent.iterdir()}
    beside = {"rows.media", "rows.manifest.json"} if name == "rows.jsonl" else set()
    assert left == {name} | beside


def test_a_jsonl_file_that_would_lose_something_is_not_written(pictures, tmp_path, mmrl):
    (tmp_path / "rows.media").mkdir()
    code, _, err = mmrl("build", "position", f"in={pictures}", f"out={tmp_path}/rows.jsonl")
    assert code == 2
    assert err == [
        f"mmrl: out: {tmp_path}/rows.media is there already; remove it or choose another name"
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["in=none"], "in: none: there is no such folder; give a folder of pictures"),
        (["in=FILE"], "is no folder; give a folder of pictures"),
        (["in=EMPTY"], "there is no image in it that could be used"),
        ([], "pipeline 'position' needs the parameter 'in'"),
        (["in=IN", "split=heldout"], "say how many with heldout=0.1"),
        (["in=IN", "workers=0"], "parameter 'workers': 0 does not fit"),
        (["in=IN", "sise=448"], "has no parameter 'sise', did you mean 'size'?"),
    ],
)
def test_mistakes_are_one_line(arguments, said, pictures, tmp_path, mmrl):
    (tmp_path / "empty").mkdir()
    places = {"FILE": pictures / "a.png", "EMPTY": tmp_path / "empty", "IN": pictures}
    given = [re.sub("FILE|EMPTY|IN", lambda m: str(places[m[0]]), text) for text in arguments]
    code, _, err = mmrl("build", "position", *given, f"out={tmp_path}/rows.jsonl")
    assert code == 2
    assert len(err) == 1
    assert said in err[0]
    assert not (tmp_path / "rows.jsonl").exists()


def test_clips_without_a_picture_and_sounds_without_a_sample_are_named(tmp_path, mmrl):
    import av

    folder = tmp_path / "in"
    folder.mkdir()
    with av.open(str(folder / "nothing.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
    write_wav(folder / "nothing.wav", np.zeros(0))
    for name, file in (("temporal_jigsaw", "nothing.mp4"), ("audio_order", "nothing.wav")):
        code, _, err = mmrl("build", name, f"in={folder}", f"out={tmp_path}/{name}.jsonl")
        assert code == 2
        assert any(file in line and line.endswith("left out") for line in err)
        assert any("holds no rows" in line for line in err)


def test_names_that_are_no_text_can_be_read(tmp_path, mmrl):
    folder = tmp_path / "in"
    folder.mkdir()
    strange = os.fsencode(folder) + b"/caf\xe9\n.png"
    pixels = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    write_png(folder / "a.png", pixels)
    os.rename(os.fsencode(folder) + b"/a.png", strange)
    (folder / "two\nlines.txt").write_text("x")
    code, _, err = mmrl("build", "position", f"in={folder}", f"out={tmp_path}/rows.jsonl")
    assert code == 2
    assert err[0] == f"mmrl: {folder}/two\\nlines.txt: it is a text file, not an image; left out"
    (row,) = load_rows(tmp_path / "rows.jsonl")
    assert row.extra["file"] == "caf\\xe9\\n.png"


def test_a_folder_that_cannot_be_read_is_named(pictures):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (pictures / "below").chmod(0)
    files, skipped = find_media(pictures, "image")
    (pictures / "below").chmod(0o755)
    assert [file.name for file in files] == ["a.png", "b.png"]
    assert "the folder cannot be read" in str(skipped[0])


def built(folder, out, name="contrastive", seed=0, **params):
    build_into(out, name, {"in": folder, **params}, seed=seed)
    files = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {path.relative_to(out): path.read_bytes() for path in files}


def test_the_same_folder_and_seed_give_the_same_bytes_however_many_work(pictures, tmp_path):
    one = built(pictures, tmp_path / "1", workers=1, count=3)
    two = built(pictures, tmp_path / "2", workers=4, count=3)
    manifest = Path("manifest.json")
    assert one.pop(manifest) != two.pop(manifest)  # the number of workers is noted there
    other = built(pictures, tmp_path / "3", workers=1, count=3, seed=1)
    assert one == two
    assert set(one) != set(other)


def test_worker_processes_give_the_same_bytes_and_the_same_lines(pictures, tmp_path, mmrl):
    spoil(pictures)
    said = []
    for engine in ("local", "processes"):
        out = tmp_path / engine / "rows.jsonl"
        more = ("workers=2", f"engine={engine}")
        code, _, err = mmrl("build", "contrastive", f"in={pictures}", f"out={out}", *more)
        assert code == 2
        files = sorted(path for path in out.parent.rglob("*") if path.is_file())
        assert len(files) > 5
        bytes_of = {path.name: path.read_bytes() for path in files if "manifest" not in path.name}
        said.append((err, bytes_of))
    assert said[0][0] == said[1][0]
    assert said[0][1].keys() == said[1][1].keys()
    assert said[0][1] == said[1][1]


def test_rows_depend_on_a_files_bytes_and_not_on_its_name(pictures, tmp_path):
    before = built(pictures, tmp_path / "1", name="jigsaw")
    (pictures / "a.png").rename(pictures / "z.png")
    after = built(pictures, tmp_path / "2", name="jigsaw")
    rows = [load_rows(tmp_path / name / "rows.jsonl") for name in "12"]
    assert {row.id: row.answer for row in rows[0]} == {row.id: row.answer for row in rows[1]}
    assert [row.id for row in rows[0]] != [row.id for row in rows[1]]
    media = [{path for path in found if path.suffix == ".jpg"} for found in (before, after)]
    assert media[0] == media[1]


def test_other_params_are_other_ids(pictures, tmp_path):
    ids = []
    for number, params in enumerate(({}, {"question": "pair"}, {"grid": [2, 3]})):
        build_into(tmp_path / str(number), "jigsaw", {"in": pictures, **params}, seed=0)
        ids += [row.id for row in load_rows(tmp_path / str(number) / "rows.jsonl")]
    assert len(set(ids)) == len(ids) == 9


def test_held_out_files_are_the_ones_that_training_does_not_see(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        write_png(folder / f"{number}.png", cv2.resize(pixels, (120, 120)))
    files = {}
    for split in ("train", "heldout"):
        params = {"in": folder, "heldout": 0.3}
        build_into(tmp_path / split, "position", params, seed=0, split=split)
        files[split] = {row.extra["file"] for row in load_rows(tmp_path / split / "rows.jsonl")}
    assert not files["train"] & files["heldout"]
    assert len(files["train"] | files["heldout"]) == 40
    assert 4 <= len(files["heldout"]) <= 20


def test_training_stops_at_a_folder_with_bad_files_unless_they_are_allowed(
    pictures, tmp_path, capfd
):
    (pictures / "notes.txt").write_text("to do")
    with pytest.raises(DataError, match=r"notes\.txt: it is a text file"):
        build_into(tmp_path / "1", "position", {"in": pictures}, seed=0)
    build_into(tmp_path / "2", "position", {"in": pictures, "allow_skips": True}, seed=0)
    assert len(load_rows(tmp_path / "2" / "rows.jsonl")) == 3
    assert "notes.txt: it is a text file" in capfd.readouterr().err


def test_a_row_function_that_fails_costs_its_own_file_only(pictures, tmp_path, capfd):
    from mmrl.data.medium_rows import rows_from_folder

    def fragile(source, folder, *, seed):
        if source.name == "b.png":
            raise ZeroDivisionError("by zero")
        yield {"id": source.name}

    params = {"in": pictures}
    found = list(rows_from_folder(fragile, "image", tmp_path, seed=0, split="train", params=params))
    assert [row["id"] for row in found if isinstance(row, dict)] == ["a.png", "below/c.png"]
    (error,) = [row for row in found if isinstance(row, DataError)]
    assert str(error).endswith("b.png: it cannot be used (ZeroDivisionError: by zero); left out")


def test_a_row_function_must_take_what_the_engine_gives():
    from mmrl.data.pipelines import medium_pipeline

    with pytest.raises(ConfigError, match="'half' does not take folder, seed"):

        @medium_pipeline("image")
        def half(source):
            yield {}


def test_a_build_that_is_stopped_leaves_nothing_behind(pictures, tmp_path):
    out = tmp_path / "made"
    code = (
        "import os, signal, sys\n"
        "from mmrl.cli import run\n"
        "from mmrl.data import medium_rows\n"
        "make = medium_rows.make_rows\n"
        "def stop(*args, **kwargs):\n"
        "    made = make(*args, **kwargs)\n"
        "    if args[1].name == 'b.png':\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return made\n"
        "medium_rows.make_rows = stop\n"
        f"sys.exit(run(['data', 'build', 'position', 'in={pictures}', 'out={out}/rows.jsonl']))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 130
    assert process.stderr.splitlines()[-1] == "mmrl: stopped"
    assert list(out.iterdir()) == []


def test_what_a_killed_build_left_is_named(pictures, tmp_path, mmrl):
    (tmp_path / ".made.building").mkdir()
    code, _, err = mmrl("build", "position", f"in={pictures}", f"out={tmp_path}/made")
    assert code == 2
    assert err == [
        f"mmrl: {tmp_path}/.made.building: a build is going on here, or one was killed; "
        "wait for it, or remove the folder"
    ]
