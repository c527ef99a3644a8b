"""A number within a tolerance, compared in decimal arithmetic, so that 0.8 is within 0.1 of 0.7.

Video-R1 (arXiv 2503.21776) rounds to two decimals and wants a decimal point in both or in neither:
`decimals=2, same_style=true`. EchoInk-R1 (arXiv 2505.04623) only rounds: `decimals=2`.
"""

from __future__ import annotations

from decimal import Decimal

from mmrl.answer import BadGold, NoAnswer, answered, as_text
from mmrl.reward import Judge, verifier
from mmrl.types import Sample
from mmrl.verify.numbers import last_number


@verifier
def number(
    *,
    abs_tol: float = 0.0,
    rel_tol: float = 1e-9,
    decimals: int | None = None,
    same_style: bool = False,
    whole_text: bool = False,
) -> Judge:
    """1.0 when the last number of the answer is within a tolerance of the row's answer.

    Args:
        abs_tol: Allowed distance.
        rel_tol: Allowed distance as a share of the row's answer; the larger allowance holds.
        decimals: Round both to so many decimals first.
        same_style: Both or neither must be written with a point or a comma.
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """
    absolute, relative = Decimal(str(abs_tol)), Decimal(str(rel_tol))
    if absolute < 0 or relative < 0:
        raise ValueError("a tolerance is not negative")

    def judge(sample: Sample) -> float:
        written = as_text(sample.row.answer)
        gold = last_number(written)
        if gold is None:
            raise BadGold(f"{written[:40]!r} holds no number")
        answer = answered(sample, whole_text=whole_text)
        value = last_number(answer)
        if value is None:
            raise NoAnswer("no number in the answer")
        if same_style and _has_point(answer) != _has_point(written):
            return 0.0
        if decimals is not None:
            gold, value = round(gold, decimals), round(value, decimals)
        return float(abs(value - gold) <= max(absolute, relative * abs(gold)))

    return judge


def _has_point(text: str) -> bool:
    return "." in text.strip().rstrip(".") or "," in text
