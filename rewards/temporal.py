"""Intervals in time: how far the predicted interval overlaps the gold one.

`temporal_iou` is the IoU itself, of one interval or of several (EchoInk-R1, arXiv 2505.04623), with
an optional threshold below which it is 0; several intervals that overlap each other are merged
first, so that nothing counts twice. `anomaly_grounding` is VideoSSR's (arXiv 2511.06281): the same
overlap, but the answer has to be `start-end` and nothing else.

    answer "10.0-20.0": <answer>5.0-15.0</answer> -> 1/3,  <answer>0-5</answer> -> 0
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mmrl.answer import BadGold, NoAnswer, answered
from mmrl.reward import Judge, verifier
from mmrl.schedule import Schedule
from mmrl.types import Row, Sample, Verdict
from mmrl.verify.reading import Span, read_spans

ROUNDING = 1e-9
"""An overlap that misses the threshold by less than this reaches it: the rest is floating point."""

_STRICT = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*-\s*([0-9]{1,12}(?:\.[0-9]{1,12})?)")


@verifier(modality="video or audio", paper="EchoInk-R1, arXiv 2505.04623")
def temporal_iou(*, threshold: Schedule | None = None, whole_text: bool = False) -> Judge:
    """Overlap of the predicted interval or intervals with the gold ones, intersection over union.

    Args:
        threshold: The least overlap that counts, a number or a schedule; without it every overlap
            does.
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """

    if threshold is not None and max(threshold.values) > 1:
        raise ValueError(f"threshold {threshold.given()} is above 1: no overlap reaches it")

    def judge(sample: Sample) -> Verdict:
        gold = _gold(sample.row)
        found = read_spans(answered(sample, whole_text=whole_text))
        if found is None:
            raise NoAnswer("no interval in the answer")
        overlap = span_iou(found, gold)
        least = threshold.at(sample.progress) if threshold is not None else 0.0
        score = overlap if overlap >= least - ROUNDING else 0.0
        return Verdict(score=score, parts={"iou": overlap})

    return judge


@verifier(modality="video", paper="VideoSSR, arXiv 2511.06281")
def anomaly_grounding(*, whole_text: bool = True) -> Judge:
    """Overlap of the predicted `start-end`, in seconds, with the disturbed part of the video.

    Args:
        whole_text: Judge the whole completion where it holds neither a tag nor a box: VideoSSR
            answers directly.
    """

    def judge(sample: Sample) -> float:
        gold = _gold(sample.row)
        match = _STRICT.fullmatch(answered(sample, whole_text=whole_text))
        if match is None:
            raise NoAnswer("the answer is not start-end")
        return span_iou([(float(match.group(1)), float(match.group(2)))], gold)

    return judge


def span_iou(found: Sequence[Span], gold: Sequence[Span]) -> float:
    """Return intersection over union of two sets of intervals; one that ends before it starts
    spoils its set.

    >>> span_iou([(12, 19), (24, 29)], [(10, 15)]) == 3 / 14
    True
    """
    if any(start > end for spans in (found, gold) for start, end in spans):
        return 0.0
    first, second = _merged(found), _merged(gold)
    shared = sum(
        max(0.0, min(end, other_end) - max(start, other_start))
        for start, end in first
        for other_start, other_end in second
    )
    union = sum(end - start for start, end in (*first, *second)) - shared
    return shared / union if union > 0 else 0.0


def _gold(row: Row) -> list[Span]:
    spans = read_spans(row.answer)
    if spans is None:
        raise BadGold(f"{row.answer!r} is no interval")
    if any(start >= end for start, end in spans):
        raise BadGold(f"{row.answer!r} has an interval without length")
    return spans


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
