"""Read numbers from completions: signs, thousands commas, fractions, percent and currency signs,
units, and whole numbers in English words.

Values are decimals, so that a tolerance of 0.1 means what it says; nothing is read from a token
that is longer than a number can sensibly be.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

LONGEST = 64
"""Characters of one number; longer ones are not read."""

_DIGITS = r"(?:\d{1,3}(?:,\d{3})++(?!\d)|\d++)(?:\.\d++)?|\.\d++"
_NUMBER = re.compile(
    rf"(?<![\w.^])[-+]?(?:{_DIGITS})(?:[eE][-+]?\d++)?(?:\s{{0,3}}/\s{{0,3}}\d++(?:\.\d++)?)?(?!\w{{0,20}}\^)"
)
_WORD = re.compile(r"[a-z]+")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*([-+]?[\d.]+)\s*\}\s*\{\s*([\d.]+)\s*\}")
_DASHES = str.maketrans({"\u2212": "-", "\u2013": "-", "\uff0d": "-"})


def last_number(text: str) -> Decimal | None:
    r"""Return the last number of the text, None where there is none or it is not finite.

    >>> last_number("It costs $1,250.50."), last_number(r"\frac{1}{4} of it"), last_number("none")
    (Decimal('1250.50'), Decimal('0.25'), None)
    """
    found = None
    for match in _NUMBER.finditer(_FRACTION.sub(r" \1/\2 ", text.translate(_DASHES))):
        found = match
    return to_decimal(found.group()) if found else None


def whole_number(text: str) -> int | None:
    """Return the last whole number of the text, digits before English words; None where there is
    none.

    >>> whole_number("three of 12"), whole_number("Twenty-one dogs"), whole_number("1.5")
    (12, 21, None)
    """
    value = last_number(text)
    if value is not None:
        return int(value) if value == value.to_integral_value() else None
    words = _WORD.findall(text.casefold())
    for index in range(len(words) - 1, -1, -1):
        if words[index] in _TENS:
            return _TENS[words[index]]
        if words[index] in _UNITS:
            unit = _UNITS[words[index]]
            before = words[index - 1] if index and 0 < unit < 10 else ""
            return _TENS.get(before, 0) + unit
    return None


def to_decimal(token: str) -> Decimal | None:
    """Return the value of one number or `a/b`, None where it is none, too long, or not finite."""
    if len(token) > LONGEST:
        return None
    above, _, below = token.replace(",", "").partition("/")
    try:
        value = Decimal(above.strip()) / (Decimal(below.strip()) if below else 1)
    except (InvalidOperation, ArithmeticError):
        return None
    return value if value.is_finite() and abs(value.adjusted()) <= 300 else None


_UNIT_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = {word: value for value, word in enumerate(_UNIT_WORDS.split())}
_TENS = {word: 20 + 10 * index for index, word in enumerate(_TEN_WORDS.split())}
