"""Exact match: the answer is the row's answer, up to case and white space unless told otherwise."""

from __future__ import annotations

from mmrl.answer import BadGold, answered, as_text, squash
from mmrl.reward import Judge, verifier
from mmrl.types import Sample


@verifier
def exact(*, case: bool = False, whole_text: bool = False) -> Judge:
    """1.0 when the answer equals the row's answer.

    Args:
        case: True where upper and lower case differ.
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """

    def judge(sample: Sample) -> float:
        gold = as_text(sample.row.answer)
        if not gold.strip():
            raise BadGold("the row's answer is empty")
        answer = answered(sample, whole_text=whole_text)
        if case:
            return float(" ".join(answer.split()) == " ".join(gold.split()))
        return float(squash(answer) == squash(gold))

    return judge
