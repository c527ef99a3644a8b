"""How MATH-Vision's own scorer reads an answer out of a response and cleans it.

Its rules in their order, oddities included; where it evaluates model text as Python, numbers and
fractions are read here, and formulas go to math-verify.
"""

from __future__ import annotations

import re
from decimal import Decimal

from mmrl.evals.scorers.maths import LONGEST_FORMULA, equal
from mmrl.verify.numbers import to_decimal

_FLAGS = (
    "the final answer is",
    "the answer is",
    "the correct answer is",
    "the answer should be",
)
_REMOVED = (
    "\\text",
    "\\mbox",
    "\\left",
    "\\right",
    "^{\\circ}",
    "^\\circ",
    "{m}^3",
    "m^3",
    "{units}",
    "units",
    "{km}",
    "km",
)
_LETTERS = "ABCDE"
_FRACTION = re.compile(r"\\frac\{([^{}]{1,40})\}\{([^{}]{1,40})\}")


def extract(response: str) -> str:
    """Return the answer that the scorer finds in a response, in lower case and cleaned."""
    text = response.strip()
    for letter in _LETTERS:
        ends = (f" {letter}.", f" ({letter}).")
        starts = (f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")
        if text.endswith(ends) or text.startswith(starts):
            text = letter
    tail = text.split("is ")[-1].rstrip(".")
    if _is_number(tail):
        text = tail
    boxes = text.count("oxed{")
    if not boxes:
        text = _after_flags(text)
    elif boxes > 1:
        text = "\\boxed{" + text.split("oxed{")[-1]
    text = _clean(text)
    for letter in _LETTERS.lower():
        text = text.replace(f"({letter})", letter)
    for letter in _LETTERS.lower():
        text = text.replace(f"{{{letter}}}", letter)
    return text.rstrip(".").lstrip(":").strip()


def is_equal(gold: str, answer: str) -> bool:
    """Tell whether two answers are the same text, or the same values to two decimals.

    Raises:
        Unjudged: the comparison of formulas failed or took too long.
    """
    gold, answer = gold.lower(), answer.lower()
    if not gold.replace(" ", "") or not answer.replace(" ", ""):
        return False
    if gold.strip() == answer.strip():
        return True
    gold, answer = _rounded_tuple(gold), _rounded_tuple(answer)
    if gold == answer:
        return True
    ours, right = _value(answer), _value(gold)
    if ours is not None and right is not None:
        return round(float(ours), 2) == round(float(right), 2)
    formula = bool(re.search(r"\\[a-z]", gold)) and bool(re.search(r"[\\0-9]", answer))
    return formula and len(answer) <= LONGEST_FORMULA and equal(answer, gold)


def _after_flags(text: str) -> str:
    """Return what follows the last of each phrase, up to the end of its line or sentence."""
    for flag in _FLAGS:
        for phrase in (flag, flag.replace("the", "The")):
            before = text
            text = text.split(phrase)[-1].strip()
            if phrase in before:
                text = text.split("\n")[0].split(". ")[0]
    return text


def _clean(text: str) -> str:
    text = text.lower().replace("{}", "")
    start, end = text.find("oxed{"), text.rfind("}")
    if 0 <= start < end:
        text = text[start + len("oxed{") : end]
    opening, closing = text.find("{"), text.find("}")
    if closing >= 0 and (opening < 0 or closing < opening):
        text = text.split("}")[0]
    text = text.split("=")[-1].split("\\approx")[-1]
    text = text.replace(" ", "").replace("\\,", "").replace("\u221e", "\\infty")
    text = text.replace("+\\infty", "\\infty").replace("\\\\", "\\").replace("\n", "")
    text = text.replace("bmatrix", "pmatrix")
    for piece in _REMOVED:
        text = text.replace(piece, "")
    return _strip(text)


def _strip(text: str) -> str:
    """Return the text without LaTeX spacing, dollar and percent signs, a fraction spelled out."""
    text = text.replace("\\!", "").replace("\\\\", "\\")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac")
    text = text.replace("\\$", "").replace("$", "").split("\\text{ ")[0].replace("\\%", "")
    text = text.replace("{.", "{0.")
    if text.startswith("."):
        text = f"0{text}"
    for sign in ("=", "\\approx"):
        parts = text.split(sign)
        text = parts[-1] if len(parts) == 2 else text
    text = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", text).replace(" ", "")
    text = _braced_fractions(text) if "sqrt" in text else text
    if text == "0.5":
        return "\\frac{1}{2}"
    above, slash, below = text.partition("/")
    return f"\\frac{{{above}}}{{{below}}}" if slash and _whole(above) and _whole(below) else text


def _braced_fractions(text: str) -> str:
    """Return `\\frac12` as `\\frac{1}{2}`; a fraction that is cut short leaves all as it is."""
    first, *pieces = text.split("\\frac")
    for piece in pieces:
        if piece.startswith("{"):
            first += f"\\frac{piece}"
        elif len(piece) < 2:
            return text
        else:
            below = piece[1:] if piece[1] == "{" else f"{{{piece[1]}}}{piece[2:]}"
            first += f"\\frac{{{piece[0]}}}{below}"
    return first


def _rounded_tuple(text: str) -> str:
    """Return a tuple or list with its numbers rounded to two decimals, anything else as it is."""
    parts = text[1:-1].split(",")
    if len(parts) < 2 or (text[0], text[-1]) not in (("(", ")"), ("[", "]")):
        return text
    rounded = []
    for part in parts:
        if "infty" in part or part in ("a", "-a"):
            rounded.append(part)
            continue
        value = _value(part)
        if value is None:
            return text
        whole = value == value.to_integral_value() and "." not in part
        rounded.append(str(int(value)) if whole else str(round(float(value), 2)))
    return f"{text[0]}{','.join(rounded)}{text[-1]}"


def _value(text: str) -> Decimal | None:
    """Return the number or the fraction that a text is."""
    sign, text = (-1, text[1:]) if text.startswith("-\\") else (1, text)
    fraction = _FRACTION.fullmatch(text.strip())
    value = to_decimal(f"{fraction[1]}/{fraction[2]}" if fraction else text.strip())
    return None if value is None else sign * value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _whole(text: str) -> bool:
    digits = text.removeprefix("-")
    return len(text) <= 40 and text.isascii() and digits.isdigit() and str(int(text)) == text
