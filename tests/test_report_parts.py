from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmrl.config.schema import MediaConfig
from mmrl.reporting.curves import POINTS, Curve, ends, smooth
from mmrl.reporting.markup import duration, text
from mmrl.reporting.media_links import MediaLinks, find_kinds
from mmrl.reporting.media_previews import film_strip, spectrogram


def test_a_hundred_thousand_steps_make_a_short_curve_with_the_same_mean():
    curve = Curve(width=-(-100_000 // POINTS))
    for step in range(1, 100_001):
        curve.add(step, step % 10)
    points = curve.points()
    assert len(points) == POINTS
    assert points == sorted(points)
    assert sum(value for _, value in points) / len(points) == pytest.approx(4.5, abs=0.02)


def test_smoothing_keeps_a_straight_line_straight():
    line = [(float(step), 3.0 * step) for step in range(100)]
    assert [step for step, _ in smooth(line)] == [step for step, _ in line]
    assert [value for _, value in smooth(line)] == pytest.approx([value for _, value in line])
    assert smooth(line[:8]) == []
    assert ends([(0, 1.0), (1, 5.0)]) == (1.0, 5.0)


@pytest.mark.parametrize(
    ("prompt", "media", "kinds"),
    [
        ("<video>\n<image>\nWhat?", ["a", "b"], ("video", "image")),
        ("Write\n<image>\nhere", [], ()),
        ("<image>\n<image>", ["x/a.wav"], ("audio",)),
        ("?", ["video: 12 bytes", "a.mp4"], ("video", "video")),
    ],
)
def test_kinds_of_media_come_from_the_prompt_or_the_file_name(prompt, media, kinds):
    assert find_kinds({"prompt": prompt, "media": media}) == kinds


def test_a_relative_reference_below_out_is_found_in_the_folder():
    links = MediaLinks(folder=Path("/new"), out=Path("runs/toy/001"), media=MediaConfig())
    assert links.find("runs/toy/001/data/a.png") == Path("/new/data/a.png")
    assert links.link(Path("/new/data/ä b.png")) == "data/%C3%A4%20b.png"
    assert links.link(Path("/other/a b.png")) == "file:///other/a%20b.png"


def test_previews_are_pictures_and_what_cannot_be_decoded_has_none(media_folder, tmp_path):
    strip = film_strip(media_folder / "a.mp4", MediaConfig())
    assert len(strip) == 6
    assert all(frame.startswith("data:image/webp;base64,") for frame in strip)
    assert spectrogram(media_folder / "a.wav", MediaConfig()).startswith("data:image/png;base64,")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    assert spectrogram(tmp_path / "a.wav", MediaConfig()) is None
    assert film_strip(tmp_path / "none.mp4", MediaConfig()) == []


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.04, "0.0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_read_as_a_person_says_them(seconds, told):
    assert duration(seconds) == told


def test_text_shorter_than_its_limit_is_whole():
    assert text("a<b", head=3) == "a&lt;b"
    assert text("a" * 46, head=2, tail=4) == "a" * 46
    cut = text("a" * 47, head=2, tail=4)
    assert re.sub("<.*?>", "", cut) == "aa… 41 characters left out …aaaa"
