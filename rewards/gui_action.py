"""One action on a screen: its type, where it points and the format, each 0 or 1, added.

After UI-R1 (arXiv 2503.21620). The answer is `[{'action': 'click', 'coordinate': [x, y]}]`, the
row's the same with the target's box. A click is right inside the box, borders included, or within
`distance` of a gold point (TON, arXiv 2505.16854: 0.14 in unit coordinates); every other action is
right by its type alone. With `arguments` the other arguments (direction, text, app) have to be
right as well, for finer signals as CRAFT-GUI wants them (arXiv 2508.11360); its own weights are not
reproduced here.

    answer [{"action": "click", "coordinate": [10, 10, 20, 20]}], format "none":
    <answer>[{'action': 'click', 'coordinate': [10, 10]}]</answer> -> 2
    <answer>[{'action': 'scroll', 'direction': 'up'}]</answer> -> 0
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from mmrl.answer import BadGold, NoAnswer, as_text, extract, squash
from mmrl.coordinates import (
    Frame,
    Size,
    Space,
    convert,
    gold_frame,
    point_problem,
    spoken_frame,
    spoken_numbers,
)
from mmrl.reward import Judge, verifier
from mmrl.types import Row, Sample, Verdict
from mmrl.verify.reading import finite, read_list

ROUNDING = 1e-9
POINTING = ("click", "long_press", "tap", "double_click", "right_click", "hover")
"""Actions that point at something; the coordinates of all others are ignored."""

Format = Literal["think_answer", "answer", "none"]
_ACTION = re.compile(r"""['"]action['"]\s*:\s*['"](\w{1,40})['"]""")
_PAIR = re.compile(r"\[\s*(-?[0-9.]{1,20})\s*,\s*(-?[0-9.]{1,20})\s*\]")


def _right(
    row: Row,
    *,
    format: Format = "think_answer",  # noqa: A002
    coordinates: Space | None = None,
    image_size: Size | None = None,
    seen_size: Size | None = None,
) -> str:
    action = dict(_gold(row))
    target = action.pop("coordinate", None)
    if target is not None and action["action"] in POINTING:
        middle = [(target[0] + target[-2]) / 2, (target[1] + target[-1]) / 2]
        action["coordinate"] = spoken_numbers(
            middle, row, spoken=coordinates, image_size=image_size, seen_size=seen_size
        )
    thought = "<think>\n</think>" if format == "think_answer" else ""
    return f"{thought}<answer>{json.dumps([action], ensure_ascii=False)}</answer>"


@verifier(
    modality="image",
    paper="UI-R1, arXiv 2503.21620; CRAFT-GUI, arXiv 2508.11360; TON, arXiv 2505.16854",
    gold=_right,
)
def gui_action(
    *,
    format: Format = "think_answer",  # noqa: A002
    arguments: bool = False,
    distance: float | None = None,
    coordinates: Space | None = None,
    image_size: Size | None = None,
    seen_size: Size | None = None,
) -> Judge:
    """Type of the action + where it points + format.

    Args:
        format: A point for thinking in a tag and then answering in one, for the answer's tag alone,
            or for nothing.
        arguments: The second point also needs the gold action's other arguments, up to case and
            white space.
        distance: How far from a gold point is near, in the row's coordinates.
        coordinates: The space that the model speaks; the row's own space if not given.
        image_size: Width and height of the image, where the row does not say them and pixels are
            converted.
        seen_size: Width and height of the image as the model saw it, if it speaks pixels of a
            resized one.
    """

    def judge(sample: Sample) -> Verdict:
        row = sample.row
        gold = _gold(row)
        frame = gold_frame(row, spoken=coordinates, image_size=image_size)
        spoken = spoken_frame(row, frame, spoken=coordinates, seen_size=seen_size)
        target = _target(gold, frame)
        if target is not None and len(target) == 2 and distance is None:
            raise BadGold("the target is a point: the parameter distance has to say what is near")
        parts = {} if format == "none" else {"format": float(_has_format(sample.text, format))}
        found = _read(sample.answer) if sample.answer else None
        if found is None:
            if not parts.get("format"):
                raise NoAnswer("no action in the answer")
            found = {}
        same = found.get("action") == gold["action"]
        aimed = target is None or _hits(_point(found, spoken, frame), target, distance)
        named = not arguments or _same_arguments(found, gold)
        parts = {"type": float(same), "coordinate": float(same and aimed and named)} | parts
        return Verdict(score=sum(parts.values()), parts=parts)

    return judge


def _gold(row: Row) -> Mapping[str, Any]:
    """Return the gold action: an object, a list of one, or text in which it is written."""
    answer = row.answer
    if isinstance(answer, str):
        inside = extract(answer)
        answer = read_list(inside if inside is not None else answer)
    found = [answer] if isinstance(answer, Mapping) else answer
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], Mapping):
        raise BadGold(f"{row.answer!r} is not one action")
    if not isinstance(found[0].get("action"), str):
        raise BadGold(f"{row.answer!r} does not say its 'action'")
    target = found[0].get("coordinate")
    if target is not None and (
        not isinstance(target, list | tuple)
        or len(target) not in (2, 4)
        or any(finite(number) is None for number in target)
    ):
        raise BadGold(f"coordinate {target!r} is neither a point nor a box")
    return found[0]


def _target(gold: Mapping[str, Any], frame: Frame) -> list[float] | None:
    """Return the box or point that a pointing action has to hit; None for other actions."""
    if gold["action"] not in POINTING:
        return None
    if gold.get("coordinate") is None:
        raise BadGold(f"a {gold['action']} needs a 'coordinate'")
    target = [float(number) for number in gold["coordinate"]]
    problem = point_problem(target, frame)
    if not problem and len(target) == 4 and (target[0] > target[2] or target[1] > target[3]):
        problem = f"box {target} has its corners reversed"
    if problem:
        raise BadGold(problem)
    return target


def _read(answer: str) -> Mapping[str, Any] | None:
    """Return the first action of the answer; a list that is not JSON is searched for its two
    parts."""
    found = read_list(answer)
    if found and isinstance(found[0], Mapping) and isinstance(found[0].get("action"), str):
        return found[0]
    action, pair = _ACTION.search(answer), _PAIR.search(answer)
    if action is None:
        return None
    return {"action": action.group(1), "coordinate": _floats(pair.groups()) if pair else None}


def _floats(texts: tuple[str | Any, ...]) -> list[float] | None:
    try:
        return [float(text) for text in texts]
    except ValueError:
        return None


def _point(found: Mapping[str, Any], spoken: Frame, frame: Frame) -> tuple[float, float] | None:
    given = found.get("coordinate")
    if not isinstance(given, list) or len(given) != 2:
        return None
    x, y = finite(given[0]), finite(given[1])
    if x is None or y is None:
        return None
    try:
        x, y = convert((x, y), spoken, frame)
    except ValueError as error:
        raise BadGold(str(error)) from error
    return x, y


def _hits(point: tuple[float, float] | None, target: list[float], distance: float | None) -> bool:
    if point is None:
        return False
    if len(target) == 2:
        return math.dist(point, target) <= (distance or 0.0) + ROUNDING
    return target[0] <= point[0] <= target[2] and target[1] <= point[1] <= target[3]


def _same_arguments(found: Mapping[str, Any], gold: Mapping[str, Any]) -> bool:
    names = [name for name in gold if name not in ("action", "coordinate")]
    return all(
        name in found and squash(as_text(found[name])) == squash(as_text(gold[name]))
        for name in names
    )


def _has_format(text: str, wanted: Format) -> bool:
    """Tell whether the text is an answer's block, after a block of thought where that is wanted."""
    text = text.strip()
    if wanted == "think_answer":
        if not text.startswith("<think>"):
            return False
        _, closed, text = text.partition("</think>")
        if not closed:
            return False
        text = text.strip()
    return text.startswith("<answer>") and text.endswith("</answer>")
