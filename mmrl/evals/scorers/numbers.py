"""Numbers as answers: which number a response gives, and whether it is the right one."""

from __future__ import annotations

import re
from decimal import Decimal

from mmrl.evals.benchmark import Response, Score, judged, unanswered
from mmrl.evals.reading import Found, find_answer
from mmrl.verify.choices import LONGEST
from mmrl.verify.numbers import last_number, to_decimal, whole_number

CUE = re.compile(r"\banswer\b(?:\s+\w{1,12}){0,3}?\s*(?:is|:|=|\bbe\b)\s*:?", re.IGNORECASE)
"""What announces an answer in prose."""

_SIGNS = str.maketrans(dict.fromkeys("$\u20ac\u00a3\u00a5\u20b9%\u00b0*", " "))


def find_number(found: Found, unit: str = "") -> tuple[Decimal, str] | None:
    """Return the number that a text gives as its answer, and by which rule: the whole text is one,
    the first after the last "answer is", the last one of all.

    Currency, percent and degree signs and the item's own unit do not count.
    """
    text = found.text[-LONGEST:].translate(_SIGNS)
    whole = to_decimal(text.strip().removesuffix(unit).strip().rstrip("."))
    if whole is not None:
        return whole, "number" if found.how == "whole" else found.how
    cues = list(CUE.finditer(text)) if found.how == "whole" else []
    if cues:
        clause = re.split(r"[.;](?:\s|$)|\n", text[cues[-1].end() :].strip(), maxsplit=1)[0]
        numbers = (last_number(word.strip(",:")) for word in clause.split())
        first = last_number(clause) if "=" in clause else next(filter(_is_number, numbers), None)
        if first is not None:
            return first, "cue"
    number = last_number(text)
    return None if number is None else (number, "number" if found.how == "whole" else found.how)


def score_number(
    response: Response, gold: Decimal, *, tolerance: Decimal = Decimal(0), unit: str = ""
) -> Score:
    """Return the strict score of a number that has to be within a distance of the gold number."""
    found = find_answer(response)
    number = find_number(found, unit)
    if number is None:
        return unanswered(answer=found.text[-200:] or None)
    value, how = number
    correct = abs(value - gold) <= tolerance
    return judged(correct, answer=found.text[-200:], normalised=plain(value), how=how)


def score_count(response: Response, gold: int) -> Score:
    """Return the strict score of a whole number, in digits or in English words; "5.5" is none."""
    found = find_answer(response)
    number = find_number(found)
    if number is not None:
        value = int(number[0]) if number[0] == number[0].to_integral_value() else None
        how = number[1]
    else:
        value, how = whole_number(found.text[-LONGEST:]), "text"
        how = how if found.how == "whole" else found.how
    if value is None:
        return unanswered(answer=found.text[-200:] or None)
    return judged(value == gold, answer=found.text[-200:], normalised=str(value), how=how)


def plain(value: Decimal) -> str:
    """Return a number's digits, the same for equal numbers.

    >>> plain(Decimal("14.0")), plain(Decimal("-0.50"))
    ('14', '-0.5')
    """
    value = value.normalize() + 0
    return f"{value:f}" if abs(value.adjusted()) < 30 else str(value)


def _is_number(value: Decimal | None) -> bool:
    return value is not None
