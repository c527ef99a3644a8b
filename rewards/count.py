"""How many: a whole number in digits or in English words, with or without credit for closeness."""

from __future__ import annotations

from typing import Literal

from mmrl.answer import BadGold, NoAnswer, answered, as_text
from mmrl.reward import Judge, verifier
from mmrl.types import Sample
from mmrl.verify.numbers import whole_number


@verifier
def count(*, credit: Literal["exact", "relative"] = "exact", whole_text: bool = False) -> Judge:
    """1.0 when the answer's last whole number is the row's, or 1 - error / gold with relative
    credit.

    Args:
        credit: All or nothing, or less the farther off, relative to the row's number.
        whole_text: Judge what follows the thinking where there is neither a tag nor a box.
    """

    def judge(sample: Sample) -> float:
        gold = whole_number(as_text(sample.row.answer))
        if gold is None:
            raise BadGold(f"{as_text(sample.row.answer)[:40]!r} is no whole number")
        value = whole_number(answered(sample, whole_text=whole_text))
        if value is None:
            raise NoAnswer("no whole number in the answer")
        if value == gold or credit == "exact":
            return float(value == gold)
        return max(0.0, 1.0 - abs(value - gold) / abs(gold)) if gold else 0.0

    return judge
