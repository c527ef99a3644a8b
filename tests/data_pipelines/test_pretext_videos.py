from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from data_pipelines._clips import open_frames
from data_pipelines.anomaly_grounding import _WAYS
from mmrl.data.folder import SourceFile
from mmrl.data.golds import check_golds
from mmrl.errors import DataError
from mmrl.judging.panel import Panel
from mmrl.media.writers import write_mp4

TASKS = (
    "temporal_jigsaw",
    "frame_order",
    "video_speed",
    "video_reversal",
    "anomaly_grounding",
    "object_count",
)


@pytest.fixture(scope="session")
def plain(clips):
    """The frames of a row's file as they are before anything is done to them."""

    def frames(row, count=48):
        path = clips / row.extra["file"]
        return open_frames(SourceFile(kind="video", path=path, name=path.name), count, 128)

    return frames


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_gold_answers_pass_and_those_of_neighbours_do_not(task, level, rows_of, clips):
    rows = rows_of(task, clips, difficulty=level, count=3)
    report = check_golds(rows, Panel())
    assert report.errors == ()
    assert (report.judged, report.unopposed) == (12, 0)
    assert {row.difficulty for row in rows} == {level}


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_clips_in_the_order_of_the_answer_are_in_the_order_of_time(
    level, rows_of, clips, look, clock
):
    rows = rows_of("temporal_jigsaw", clips, difficulty=level, count=3)
    for row in rows:
        shown = look(row)
        moments = [[clock(frame) for frame in clip] for clip in shown]
        order = [int(digit) - 1 for digit in row.answer]
        in_time = [moment for place in order for moment in moments[place]]
        assert in_time == sorted(in_time)
        assert len(shown) == {0.0: 3, 0.5: 6, 1.0: 8}[level]
        assert {len(clip) for clip in shown} == {8}
    assert len({row.answer for row in rows}) > 2


def test_frames_in_the_order_of_the_answer_are_in_the_order_of_time(rows_of, clips, look, clock):
    for row in rows_of("frame_order", clips, difficulty=[0, 1], count=3):
        moments = [clock(picture) for picture in look(row)]
        in_time = [moments[int(word) - 1] for word in row.answer.split()]
        assert in_time == sorted(in_time)
        assert len(set(in_time)) == len(in_time)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_the_speed_is_how_much_faster_time_goes_by_in_the_second_clip(
    level, rows_of, clips, look, clock
):
    rows = rows_of("video_speed", clips, difficulty=level, count=3)
    for row in rows:
        first, second = ([clock(frame) for frame in clip] for clip in look(row))
        assert len(first) == len(second) == 8
        assert len(set(second)) == 8
        speed = (second[-1] - second[0]) / (first[-1] - first[0])
        assert speed == pytest.approx(float(row.answer), rel=0.15)
    assert len({row.answer for row in rows}) > 1


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_time_runs_as_the_answer_says(level, rows_of, clips, look, clock):
    rows = rows_of("video_reversal", clips, difficulty=level, count=3)
    spans = []
    for row in rows:
        (clip,) = look(row)
        moments = [clock(frame) for frame in clip]
        assert moments == sorted(moments, reverse=row.answer == "backwards")
        spans.append(abs(moments[-1] - moments[0]))
    assert {row.answer for row in rows} == {"forwards", "backwards"}
    assert (np.mean(spans) > 0.7) == (level == 0.0)


@pytest.mark.parametrize("kinds", [("channel_swap", "mirror", "zoom_out", "rotate_180"), None])
def test_exactly_the_seconds_of_the_answer_were_disturbed(kinds, rows_of, clips, look, plain):
    rows = rows_of("anomaly_grounding", clips, kinds=kinds or list(_WAYS), count=5)
    for row in rows:
        (shown,) = look(row)
        before = plain(row)
        assert shown.shape == before.shape
        start, end = (float(moment) for moment in row.answer.split("-"))
        assert re.fullmatch(r"\d+\.\d\d-\d+\.\d\d", row.answer)
        inside = np.zeros(48, bool)
        inside[round(2 * start) : round(2 * end)] = True
        change = np.abs(shown.astype(int) - before).mean(axis=(1, 2, 3))
        assert change[~inside].max() < 2.5  # what encoding costs
        assert change[inside].mean() > 2 * change[~inside].mean()
        assert 7 <= inside.sum() <= 17
    if kinds is None:
        assert len({row.extra["kind"] for row in rows}) > 7


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_as_many_shapes_of_each_kind_can_be_counted_as_the_answer_says(
    level, rows_of, clips, look, plain
):
    rows = rows_of("object_count", clips, difficulty=level, count=3)
    for row in rows:
        (shown,) = look(row)
        counts = dict.fromkeys(("circle", "square", "triangle"), 0)
        for frame, before in zip(shown, plain(row), strict=True):
            changed = (np.abs(frame.astype(int) - before).sum(axis=-1) > 60).astype(np.uint8)
            outlines, _ = cv2.findContours(changed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            pasted = [outline for outline in outlines if cv2.contourArea(outline) > 40]
            if pasted:
                counts[shape_of(pasted)] += len(pasted)
        assert row.answer == ",".join(map(str, counts.values()))
    assert max(int(n) for row in rows for n in row.answer.split(",")) > (3 if level else 0)


def shape_of(outlines):
    """A triangle fills the smallest triangle around it, a circle the smallest circle."""
    areas = np.array([cv2.contourArea(outline) for outline in outlines])
    triangles = [cv2.minEnclosingTriangle(outline)[0] for outline in outlines]
    circles = [np.pi * cv2.minEnclosingCircle(outline)[1] ** 2 for outline in outlines]
    if np.median(areas / triangles) > 0.72:
        return "triangle"
    return "circle" if np.median(areas / circles) > 0.75 else "square"


@pytest.mark.parametrize("task", TASKS)
def test_a_video_that_is_too_short_is_left_out(task, tmp_path, rows_of):
    write_mp4(tmp_path / "short.mp4", np.zeros((2, 64, 64, 3), np.uint8), fps=10)
    with pytest.raises(DataError, match=r"frames, .* are needed; left out"):
        rows_of(task, tmp_path)


@pytest.mark.parametrize(
    "task", ["temporal_jigsaw", "frame_order", "video_speed", "video_reversal"]
)
def test_a_video_in_which_nothing_moves_is_left_out(task, tmp_path, rows_of, photos):
    still = cv2.resize(cv2.imread(str(next(photos.rglob("*.jpg")))), (96, 64))
    write_mp4(tmp_path / "still.mp4", np.stack([still] * 120), fps=12)
    with pytest.raises(DataError, match="moves so little"):
        rows_of(task, tmp_path)
