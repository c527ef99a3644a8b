r"""Mathematical equality through math-verify: fractions, roots, intervals, sets, equations, LaTeX
or plain.

V-Triune (arXiv 2505.18129) counts an answer only in `\boxed{}`: `boxed_only`. Symbolic work can
take for ever, so this verifier runs in the killable pool, whose limits replace math-verify's own
alarms; a failure inside is an error and not a wrong answer.
"""

from __future__ import annotations

import cmath
import functools
import re
import unicodedata
from typing import Any

from mmrl.answer import BadGold, NoAnswer, answered, as_text, in_box, squash
from mmrl.reward import Judge, verifier
from mmrl.types import Row, Sample


def _gold(row: Row) -> str:
    text = as_text(row.answer)
    box = text if in_box(text) is not None else f"\\boxed{{{text}}}"
    return f"<answer>{box}</answer>"


def _warm() -> None:
    _equal("1", "\\frac{2}{2}", float_rounding=6)


@verifier(isolated=True, gold=_gold, warm=_warm, paper="V-Triune, arXiv 2505.18129")
def math(*, boxed_only: bool = False, whole_text: bool = False, float_rounding: int = 6) -> Judge:
    r"""1.0 when the answer equals the row's answer as mathematics.

    Args:
        boxed_only: Only what stands in `\boxed{}`, anywhere in the completion, is an answer.
        whole_text: Judge what follows the thinking where there is neither a tag nor a box.
        float_rounding: Decimals to which numbers that are not exact are compared.
    """

    def judge(sample: Sample) -> float:
        written = as_text(sample.row.answer).strip()
        box = in_box(written)
        gold = written if box is None else box
        if not gold:
            raise BadGold("the row's answer is empty")
        answer = in_box(sample.text) if boxed_only else answered(sample, whole_text=whole_text)
        if not answer:
            raise NoAnswer("no \\boxed{} in the completion")
        inner = in_box(answer)
        answer = answer if inner is None else inner
        if squash(answer) == squash(gold):
            return 1.0
        return float(_equal(gold, answer, float_rounding=float_rounding))

    return judge


def _equal(gold: str, answer: str, *, float_rounding: int) -> bool:
    import math_verify

    right = _parsed_gold(gold)
    if not right:
        raise BadGold(f"{gold[:40]!r} cannot be read as mathematics")
    return any(
        math_verify.verify(
            right, found, float_rounding=float_rounding, timeout_seconds=None, raise_on_error=True
        )
        for found in map(_parsed, _readings(answer))
        if found and not _far_apart(right, found)
    )


@functools.lru_cache(maxsize=1024)
def _parsed_gold(gold: str) -> list[Any]:
    return [value for reading in _readings(gold) for value in _parsed(reading)]


@functools.lru_cache(maxsize=1024)
def _parsed(reading: str) -> list[Any]:
    import math_verify

    return math_verify.parse(reading, parsing_timeout=0, raise_on_error=True)


def _far_apart(right: list[Any], found: list[Any]) -> bool:
    """Tell whether all values clearly differ in numbers, which is quick to see, unlike equality.

    Symbols take the same arbitrary values on both sides. Sets, equations and whatever else is no
    plain expression is left to math-verify, and so is what differs by less than a thousandth, or
    by the factor of a percent sign.
    """
    from sympy import Expr

    values = [value for value in (*right, *found) if not isinstance(value, str)]
    if not all(isinstance(value, Expr) for value in values):
        return False
    names = sorted({str(symbol) for value in values for symbol in value.free_symbols})
    at = {name: 0.73 + 0.61 * index for index, name in enumerate(names)}
    golds = [_number(value, at) for value in right if not isinstance(value, str)]
    others = [_number(value, at) for value in found if not isinstance(value, str)]
    if not golds or not others or None in golds or None in others:
        return False
    return not any(
        _near(gold, other) or _near(100 * gold, other) or _near(gold, 100 * other)
        for gold in golds
        for other in others
        if gold is not None and other is not None
    )


def _near(one: complex, other: complex) -> bool:
    return abs(one - other) <= 1e-3 * max(1.0, abs(one), abs(other))


def _number(value: Any, at: dict[str, float]) -> complex | None:
    """Return the value in numbers, None where it has none."""
    try:
        number = complex(value.evalf(15, subs={s: at[str(s)] for s in value.free_symbols}))
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if cmath.isfinite(number) else None


def _readings(text: str) -> list[str]:
    """Return the text as one formula and, where words stand around one, as prose that holds it."""
    text = _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit.group())), text)
    bare = text.replace("$", " ").replace("\\(", " ").replace("\\)", " ").strip(" .\n")
    if not bare:
        return []
    if "\\" not in bare:
        for plain, latex in _PLAIN:
            bare = plain.sub(latex, bare)
    return [f"${bare}$", text] if _WORDS.search(text) else [f"${bare}$"]


_DIGIT = re.compile(r"(?![0-9])\d")
"""Digits of other scripts, which sympy does not read."""
_WORDS = re.compile(r"(?:^|\s)[A-Za-z]{2,}")
_PLAIN = (
    (re.compile(r"\bsqrt\(([^()]{1,200})\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![A-Za-z])(?:pi\b|\u03c0)"), r"\\pi "),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\binf(?:ty|inity)?\b"), r"\\infty "),
    (re.compile(r"\*"), r"\\cdot "),
)
