r"""Counts of several kinds of object, each judged by its relative error.

After VideoSSR (arXiv 2511.06281). The mean over the kinds of max(0, 1 - |found - gold| / |gold|),
where equal counts give 1 and a wrong count of something that is not there gives 0. The numbers are
read in order, and there must be as many as kinds.

    answer "3,1,4": <answer>2,1,4</answer> -> 8/9,  <answer>3,1</answer> -> 0
"""

from __future__ import annotations

import re
from typing import Any

from mmrl.answer import BadGold, NoAnswer, answered, as_text
from mmrl.reward import Judge, verifier
from mmrl.types import Sample

_SMALLEST = 1e-9
_DIGITS = re.compile(r"[0-9]+")
_LONGEST = 15
"""Digits of a count; a longer number is wrong whatever it is."""


@verifier(modality="video", paper="VideoSSR, arXiv 2511.06281")
def object_count(*, whole_text: bool = True) -> Judge:
    """Mean over the kinds of object of how near each count is, 0 to 1.

    Args:
        whole_text: Judge the whole completion where it holds neither a tag nor a box: VideoSSR
            answers directly.
    """

    def judge(sample: Sample) -> float:
        gold = _counts(sample.row.answer)
        if not gold:
            raise BadGold(f"{sample.row.answer!r} holds no count")
        found = _counts(answered(sample, whole_text=whole_text))
        if not found:
            raise NoAnswer("no count in the answer")
        if len(found) != len(gold):
            return 0.0
        return sum(_nearness(a, b) for a, b in zip(found, gold, strict=True)) / len(gold)

    return judge


def _counts(answer: Any) -> list[float]:
    return [
        float(digits) if len(digits) <= _LONGEST else float("inf")
        for digits in _DIGITS.findall(as_text(answer))
    ]


def _nearness(found: float, gold: float) -> float:
    return 1.0 if found == gold else max(0.0, 1.0 - abs(found - gold) / (abs(gold) + _SMALLEST))
