"""How many: a whole number in digits or in English words, with or without credit for closeness."""

from __future__ import annotations

import re
from typing import Literal

from mmrl.answer import BadGold, NoAnswer, answered, as_text
from mmrl.reward import Judge, verifier
from mmrl.types import Sample
from mmrl.verify.numbers import last_number

UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
UNIT = {word: value for value, word in enumerate(UNITS)}
TEN = {word: 20 + 10 * index for index, word in enumerate(TENS)}


@verifier
def count(*, credit: Literal["exact", "relative"] = "exact", whole_text: bool = False) -> Judge:
    """1.0 when the answer's last whole number is the row's, or 1 - error / gold with relative
    credit.

    Args:
        credit: All or nothing, or less the farther off, relative to the row's number.
        whole_text: Judge what follows the thinking where there is neither a tag nor a box.
    """

    def judge(sample: Sample) -> float:
        gold = _whole(as_text(sample.row.answer))
        if gold is None:
            raise BadGold(f"{as_text(sample.row.answer)[:40]!r} is no whole number")
        value = _whole(answered(sample, whole_text=whole_text))
        if value is None:
            raise NoAnswer("no whole number in the answer")
        if value == gold or credit == "exact":
            return float(value == gold)
        return max(0.0, 1.0 - abs(value - gold) / abs(gold)) if gold else 0.0

    return judge


def _whole(text: str) -> int | None:
    """Return the last whole number, digits before words."""
    value = last_number(text)
    if value is not None:
        return int(value) if value == value.to_integral_value() else None
    words = _WORD.findall(text.casefold())
    for index in range(len(words) - 1, -1, -1):
        if words[index] in TEN:
            return TEN[words[index]]
        if words[index] in UNIT:
            unit = UNIT[words[index]]
            before = words[index - 1] if index and 0 < unit < 10 else ""
            return TEN.get(before, 0) + unit
    return None


_WORD = re.compile(r"[a-z]+")
