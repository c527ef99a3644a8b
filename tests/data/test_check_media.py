from __future__ import annotations

import os

import pytest

from mmrl.data.check import MAX_REPORTED, first_bad
from mmrl.data.rows import load_rows


@pytest.fixture
def rows_of(write_jsonl, with_media):
    def make(*media):
        raws = [with_media(f"r{index}", **paths) for index, paths in enumerate(media)]
        return load_rows(write_jsonl(*raws))

    return make


def test_whole_media_leave_nothing_to_say(media, rows_of, config):
    rows = rows_of({"image": "media/a.png", "audio": "media/a.wav"}, {"video": "media/a.mp4"})
    seen = []
    assert first_bad(rows, config, on_medium=seen.append) == []
    assert seen == [1, 1, 1]


def test_every_kind_of_trouble_is_one_line_in_the_order_of_the_rows(
    tmp_path, media, rows_of, config
):
    (media / "empty.png").touch()
    encoded = (media / "a.mp4").read_bytes()
    (media / "cut.mp4").write_bytes(encoded[: len(encoded) // 2])
    (media / "text.wav").write_text("I am no sound\n")
    rows = rows_of(
        {"image": "media/empty.png"},
        {"image": "media/a.png"},
        {"video": "media/cut.mp4"},
        {"audio": "media/text.wav"},
        {"image": "media/missing.png"},
        {"video": "media/a.png"},
    )
    lines = first_bad(rows, config)
    assert lines[0] == (
        f"row r0: image {media}/empty.png: 0 bytes; replace the file or remove the row"
    )
    assert lines[1].startswith(f"row r2: video {media}/cut.mp4: PyAV cannot read it")
    assert lines[2].startswith(f"row r3: audio {media}/text.wav: it is a text file, not an audio")
    assert lines[3].startswith(f"row r4: image {media}/missing.png: no such file")
    assert lines[4].startswith(f"row r5: video {media}/a.png: it is a PNG image, not a video")
    assert len(lines) == 5
    assert not any("\n" in line for line in lines)


def test_a_shared_medium_is_decoded_once(media, rows_of, config):
    seen = []
    rows = rows_of(*[{"image": "media/a.png"}] * 30)
    first_bad(rows, config, on_medium=seen.append)
    assert len(seen) == 1


def test_reporting_stops_at_the_twentieth(rows_of, config):
    rows = rows_of(*[{"image": f"none/{index}.png"} for index in range(100)])
    assert len(first_bad(rows, config)) == MAX_REPORTED


def test_the_cache_spares_whole_media_until_they_change(tmp_path, media, rows_of, config):
    cache = tmp_path / "run" / "checked.json"
    rows = rows_of({"image": "media/a.png"})
    assert first_bad(rows, config, cache=cache) == []
    path, stat = media / "a.png", (media / "a.png").stat()
    whole = path.read_bytes()
    path.write_bytes(whole[:-40] + bytes(40))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert first_bad(rows, config, cache=cache) == []  # same size and time: it is not opened
    os.utime(path)
    (line,) = first_bad(rows, config, cache=cache)
    assert "Pillow cannot decode it" in line
    assert first_bad(rows, config, cache=cache) == [line]  # what is bad is never remembered


def test_the_cache_is_void_under_other_limits(tmp_path, media, rows_of, config):
    cache = tmp_path / "checked.json"
    rows = rows_of({"image": "media/a.png"})
    assert first_bad(rows, config, cache=cache) == []
    strict = config.model_copy(update={"limit_image_pixels": 100})
    assert len(first_bad(rows, strict, cache=cache)) == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"whole": 3, "settings": 1}', b"\xff"])
def test_a_damaged_cache_is_no_cache(damage, tmp_path, media, rows_of, config):
    cache = tmp_path / "checked.json"
    cache.write_bytes(damage)
    assert first_bad(rows_of({"image": "media/a.png"}), config, cache=cache) == []
