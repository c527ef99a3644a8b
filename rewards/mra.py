"""Mean relative accuracy: how many tolerances, from loose to tight, a number stays within.

VSI-Bench's measure, a reward in SpatialLadder (arXiv 2510.08531): the share of thresholds 0.50,
0.55, ... 0.95 for which |answer - gold| / |gold| <= 1 - threshold. The paper writes <, the code
<=; here `strict` chooses, and decimal arithmetic makes the boundaries exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from mmrl.answer import BadGold, NoAnswer, answered, as_text
from mmrl.reward import Judge, verifier
from mmrl.types import Sample
from mmrl.verify.numbers import last_number

THRESHOLDS = (0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)


@verifier(paper="SpatialLadder, arXiv 2510.08531")
def mra(
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    strict: bool = False,
    whole_text: bool = False,
) -> Judge:
    """The share of thresholds whose tolerance the answer's last number keeps.

    Args:
        thresholds: Relative accuracies to be reached.
        strict: The error must be below the tolerance, not at it.
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """
    if not thresholds:
        raise ValueError("thresholds are empty")
    allowed = [1 - Decimal(str(threshold)) for threshold in thresholds]

    def judge(sample: Sample) -> float:
        written = as_text(sample.row.answer)
        gold = last_number(written)
        if gold is None:
            raise BadGold(f"{written[:40]!r} holds no number")
        value = last_number(answered(sample, whole_text=whole_text))
        if value is None:
            raise NoAnswer("no number in the answer")
        if value == gold:
            return 1.0
        if gold == 0:
            return 0.0
        error = abs(value - gold) / abs(gold)
        kept = sum(error < limit if strict else error <= limit for limit in allowed)
        return kept / len(allowed)

    return judge
