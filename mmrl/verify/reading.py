"""Read numbers, boxes, intervals and permutations from a model's text, which is hostile input.

Everything is linear in the length of the text and never returns a number that is not finite:
whatever cannot be read is `None` or left out, and a verifier then says that there was nothing to
judge.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
Span = tuple[float, float]
"""Start, end."""

BOX_KEYS = ("bbox_2d", "bbox", "box_2d", "box", "bounding_box", "Position", "position")
"""The names under which models write the four numbers of a box."""

_LONGEST_NUMBER = 40
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_TOKEN = re.compile(rf"(?P<number>{_NUMBER.pattern})|(?P<open>[\[({{])|(?P<close>[\])}}])")
_TIME = re.compile(r"(?<![\w.:])(?:[0-9]{1,5}:){0,2}[0-9]{1,12}(?:\.[0-9]{0,20})?(?![0-9:])")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledBox:
    """One box of a list of detections."""

    box: Box
    label: str | None = None


def read_json(text: str) -> Any:
    """Return the JSON value that the text is.

    Raises:
        ValueError: it is not JSON, nests too deep, or holds NaN or Infinity.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def read_list(text: str) -> list[Any] | None:
    """Return the JSON list in the text, with single or double quotes; None where there is none.

    An object alone is a list of one. What was cut off is closed after its last whole item.

    >>> read_list("[{'action': 'click'}, {'acti")
    [{'action': 'click'}]
    """
    text = strip_fence(text)
    opening = min((at for at in (text.find("["), text.find("{")) if at >= 0), default=-1)
    if opening < 0:
        return None
    for repair in (str, _repaired):
        try:
            value = read_json(repair(text[opening:]))
        except ValueError:
            continue
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
            value = value[0]
        return [value] if isinstance(value, dict) else value if isinstance(value, list) else None
    return None


def finite(value: Any) -> float | None:
    """Return a JSON number as a float, or None where it is not a number or not a finite one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def read_numbers(text: str) -> list[float] | None:
    """Return the decimal numbers in the text, in order, or None where one is too large for a float.

    Digits that belong to a word (`x1`, `bbox_2d`) are not numbers.

    >>> read_numbers("x1=10, y1=20.5 [3, -4]")
    [10.0, 20.5, 3.0, -4.0]
    """
    numbers = [_number(match.group()) for match in _NUMBER.finditer(text)]
    return None if None in numbers else [number for number in numbers if number is not None]


def read_integers(value: Any) -> list[int] | None:
    """Return integers from JSON, or from text with brackets, commas, semicolons, blanks or lines.

    Every token has to be an integer; anything else makes the whole unreadable.

    >>> read_integers("2 4\\n3, 1"), read_integers([[1, 2], [3, 4]]), read_integers("1 or 2")
    ([2, 4, 3, 1], [1, 2, 3, 4], None)
    """
    if isinstance(value, str):
        tokens = value.translate(_SEPARATORS).split()
        integers = [_integer(token) for token in tokens]
    elif isinstance(value, Sequence):
        rows = [item if isinstance(item, list | tuple) else [item] for item in value]
        integers = [_json_integer(item) for row in rows for item in row]
    else:
        integers = [_json_integer(value)]
    if not integers or None in integers:
        return None
    return [integer for integer in integers if integer is not None]


def is_permutation(values: Sequence[int]) -> bool:
    """Tell whether the values are 1 to n, each once."""
    return sorted(values) == list(range(1, len(values) + 1))


def read_box(value: Any) -> Box | None:
    """Return the first box in JSON or text; None where there is none.

    In text that is not JSON it is the first bracketed group of exactly four numbers, else the
    text's numbers where they are exactly four.

    >>> read_box("It is at [10, 20, 30, 40].")
    (10.0, 20.0, 30.0, 40.0)
    >>> read_box('[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]')
    (1.0, 2.0, 3.0, 4.0)
    """
    if isinstance(value, str):
        text = strip_fence(value)
        try:
            found = json_boxes(read_json(text))
        except ValueError:
            found = None
        return found[0].box if found else _box_in_text(text)
    found = json_boxes(value)
    return found[0].box if found else None


def read_point(value: Any) -> Span | None:
    """Return the point in JSON or text: the first bracketed pair, else the text's only two numbers.

    >>> read_point("click (12, 30) now")
    (12.0, 30.0)
    """
    if isinstance(value, str):
        numbers = _numbers_of(strip_fence(value), 2)
    else:
        if isinstance(value, Mapping):
            value = next(
                (value[key] for key in ("point_2d", "point", "coordinate") if key in value), None
            )
        numbers = _plain_numbers(value)
    return (numbers[0], numbers[1]) if numbers is not None and len(numbers) == 2 else None


def read_spans(value: Any) -> list[Span] | None:
    """Return intervals from JSON or text; a hyphen is not a sign.

    Times are seconds, `mm:ss` or `h:mm:ss`.

    >>> read_spans("5.0-15.0"), read_spans([[12, 19], [24, 29]]), read_spans("from 1:05 to 1:10")
    ([(5.0, 15.0)], [(12.0, 19.0), (24.0, 29.0)], [(65.0, 70.0)])
    """
    if isinstance(value, str):
        times = [_seconds(match.group()) for match in _TIME.finditer(value)]
    elif isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
        pairs = [_plain_numbers(pair) for pair in value]
        if any(pair is None or len(pair) != 2 for pair in pairs):
            return None
        times = [number for pair in pairs for number in pair or ()]
    else:
        times = _plain_numbers(value) or []
    if not times or len(times) % 2:
        return None
    return list(zip(times[::2], times[1::2], strict=True))


def json_boxes(value: Any) -> list[LabelledBox] | None:
    """Return the boxes of a JSON value: four numbers, an object with a box, or a list of either.

    Items that are not boxes are left out; None where the value is neither a list nor an object.
    """
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        return None
    whole = _four(value)
    if whole is not None:
        return [LabelledBox(box=whole)]
    boxes = (_labelled(item) for item in value)
    return [box for box in boxes if box is not None]


def strip_fence(text: str) -> str:
    """Return the text without white space around it and without a Markdown code fence.

    >>> strip_fence('```json\\n[1]\\n```')
    '[1]'
    """
    text = text.strip()
    if text.startswith("```"):
        text = text[3:].removesuffix("```").strip()
        text = text.removeprefix("json").strip()
    return text


_SEPARATORS = str.maketrans(dict.fromkeys("[](){}`,;\n\r\t", " "))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _repaired(text: str) -> str:
    text = text.replace("[[", "[").replace("]]", "]").strip()
    if not text.endswith("]"):
        cut = text.rfind("},")
        text = f"{text[: cut + 1]}]" if cut >= 0 else text
    return text.replace("'", '"').replace("\\", "")


def _number(token: str) -> float | None:
    return finite(float(token)) if len(token) <= _LONGEST_NUMBER else None


def _integer(token: str) -> int | None:
    digits = token.lstrip("+-")
    plain = digits.isascii() and digits.isdecimal() and len(token) - len(digits) <= 1
    return int(token) if plain and len(token) <= _LONGEST_NUMBER else None


def _json_integer(item: Any) -> int | None:
    if isinstance(item, str):
        return _integer(item.strip())
    return item if type(item) is int else None


def _seconds(token: str) -> float:
    total = 0.0
    for part in token.split(":"):
        total = total * 60 + float(part)
    return total


def _plain_numbers(value: Any) -> list[float] | None:
    if not isinstance(value, list | tuple):
        return None
    numbers = [finite(item) for item in value]
    return None if None in numbers else [number for number in numbers if number is not None]


def _four(value: Any) -> Box | None:
    numbers = _plain_numbers(value) if isinstance(value, list | tuple) and len(value) == 4 else None
    return (numbers[0], numbers[1], numbers[2], numbers[3]) if numbers else None


def _labelled(item: Any) -> LabelledBox | None:
    if not isinstance(item, Mapping):
        box = _four(item)
        return LabelledBox(box=box) if box is not None else None
    box = _four(next((item[key] for key in BOX_KEYS if key in item), None))
    label = item.get("label")
    return LabelledBox(box=box, label=label if isinstance(label, str) else None) if box else None


def _box_in_text(text: str) -> Box | None:
    numbers = _numbers_of(text, 4)
    return (numbers[0], numbers[1], numbers[2], numbers[3]) if numbers is not None else None


def _numbers_of(text: str, count: int) -> list[float] | None:
    """Return the first bracketed group of so many numbers, else all numbers if they are so many."""
    every: list[float | None] = []
    start = 0
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "number":
            every.append(_number(match.group()))
            continue
        if match.lastgroup == "close" and len(every) - start == count and None not in every[start:]:
            return [number for number in every[start:] if number is not None]
        start = len(every)
    if len(every) != count or None in every:
        return None
    return [number for number in every if number is not None]
