"""Coordinate spaces of boxes and points: which numbers a space allows, and their conversion.

`pixel` counts pixels of an image, `norm1000` thousandths of its sides and `unit` shares of them.
The row says which space its answer is in, the verifier's parameters say which one the model speaks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mmrl.answer import BadGold
from mmrl.types import Row
from mmrl.verify.reading import Box, finite, read_box

Space = Literal["pixel", "norm1000", "unit"]
Size = tuple[float, float]
"""Width and height in pixels."""

_EXTENT = {"norm1000": 1000.0, "unit": 1.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """A space, with the size of the image that its pixels belong to where that is known."""

    space: Space
    size: Size | None = None

    @property
    def extent(self) -> Size | None:
        """The coordinates of the lower right corner of the image."""
        if self.space == "pixel":
            return self.size
        return (_EXTENT[self.space], _EXTENT[self.space])


def convert(
    values: Sequence[float], source: Frame, target: Frame, *, truncate: bool = False
) -> tuple[float, ...]:
    """Return x, y, x, y, ... of one frame in another.

    `truncate` cuts to whole numbers, as V-Triune does.

    Raises:
        ValueError: pixels are involved and the size of their image is not known.

    >>> pixel, norm = Frame(space="pixel", size=(8624, 5880)), Frame(space="norm1000")
    >>> convert((240, 76, 600, 320), pixel, norm, truncate=True)
    (27.0, 12.0, 69.0, 54.0)
    """
    known = source.extent is not None and target.extent is not None
    if source.space == target.space and (not known or source.extent == target.extent):
        return _cut(values) if truncate else tuple(values)
    if source.extent is None or target.extent is None:
        raise ValueError(
            f"{source.space} to {target.space} needs the size of the image: put width and height "
            "into the row's 'extra', or give the parameter image_size"
        )
    scaled = [
        value / source.extent[axis % 2] * target.extent[axis % 2]
        for axis, value in enumerate(values)
    ]
    return _cut(scaled) if truncate else tuple(scaled)


def gold_frame(row: Row, *, spoken: Space | None, image_size: Size | None = None) -> Frame:
    """Return the frame of a row's answer: the row's, else what the model speaks, else pixels.

    Raises:
        BadGold: the row names a space that there is not, or a size that is none.
    """
    space = row.extra.get("coordinates", spoken or "pixel")
    if space not in get_args(Space):
        raise BadGold(f"coordinates {space!r} is none of {', '.join(get_args(Space))}")
    return Frame(space=space, size=_size(row, "width", "height") or image_size)


def spoken_frame(
    row: Row, gold: Frame, *, spoken: Space | None, seen_size: Size | None = None
) -> Frame:
    """Return the frame that the model speaks; its pixels are those of the image as it was shown.

    Raises:
        BadGold: the row gives a size that is none.
    """
    seen = _size(row, "seen_width", "seen_height") or seen_size
    return Frame(space=spoken or gold.space, size=seen or gold.size)


def spoken_by(row: Row, space: Space) -> Row:
    """Return the row with its verifiers told which space the model speaks, where they do not say.

    For whoever pairs rows with a model: the model's family knows the space.
    """
    from mmrl.reward import find_verifier

    terms = tuple(
        dataclasses.replace(term, params={**term.params, "coordinates": space})
        if "coordinates" in find_verifier(term.name).parameters and "coordinates" not in term.params
        else term
        for term in row.verifier
    )
    return dataclasses.replace(row, verifier=terms)


def gold_box(row: Row, frame: Frame) -> Box:
    """Return the row's answer as a box of that frame.

    Raises:
        BadGold: it is no box, has no area, or does not fit the space.
    """
    box = read_box(row.answer)
    if box is None:
        raise BadGold(f"{_short(row.answer)} is no box of four numbers")
    stated = "coordinates" in row.extra
    problem = box_problem(box, frame, stated=stated)
    if problem:
        raise BadGold(problem)
    return box


def spoken_numbers(
    numbers: Sequence[float],
    row: Row,
    *,
    spoken: Space | None = None,
    image_size: Size | None = None,
    seen_size: Size | None = None,
    truncate: bool = False,
) -> list[float]:
    """Return gold coordinates as a model that is right would write them.

    Raises:
        BadGold: the row's space cannot be converted to the one that the model speaks.
    """
    frame = gold_frame(row, spoken=spoken, image_size=image_size)
    target = spoken_frame(row, frame, spoken=spoken, seen_size=seen_size)
    try:
        return list(convert(numbers, frame, target, truncate=truncate))
    except ValueError as error:
        raise BadGold(str(error)) from error


def box_problem(box: Box, frame: Frame, *, stated: bool = True) -> str:
    """Say what is wrong with a gold box in its space, or nothing.

    Args:
        box: Left, top, right, bottom.
        frame: The space that it should be in.
        stated: The row itself names the space, so that shares of the sides are not pixels.

    >>> box_problem((0.1, 0.1, 1.5, 0.5), Frame(space="unit"))
    'box [0.1, 0.1, 1.5, 0.5] goes beyond the unit space, which ends at 1'
    """
    shown = f"box [{', '.join(f'{value:g}' for value in box)}]"
    left, top, right, bottom = box
    if left >= right or top >= bottom:
        return f"{shown} has no area: its corners are left, top, right, bottom"
    return _range_problem(shown, box, frame) or (
        f"{shown} looks like unit coordinates, not {frame.space}"
        if stated and frame.space != "unit" and max(box) <= 1 and any(value % 1 for value in box)
        else ""
    )


def point_problem(point: Sequence[float], frame: Frame) -> str:
    """Say how a gold point lies outside its space, or nothing."""
    return _range_problem(f"point [{', '.join(f'{value:g}' for value in point)}]", point, frame)


def _range_problem(shown: str, values: Sequence[float], frame: Frame) -> str:
    if min(values) < 0:
        return f"{shown} has a negative coordinate"
    if frame.extent is None:
        return ""
    for axis, value in enumerate(values):
        end = frame.extent[axis % 2]
        if value > end:
            return f"{shown} goes beyond the {frame.space} space, which ends at {end:g}"
    return ""


def _size(row: Row, width_key: str, height_key: str) -> Size | None:
    width, height = row.extra.get(width_key), row.extra.get(height_key)
    if width is None and height is None:
        return None
    sides = finite(width), finite(height)
    if sides[0] is None or sides[1] is None or sides[0] <= 0 or sides[1] <= 0:
        raise BadGold(f"{width_key} {width!r} and {height_key} {height!r} are no image size")
    return sides[0], sides[1]


def _cut(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(int(value)) for value in values)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
