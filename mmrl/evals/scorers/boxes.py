"""Boxes in responses: reading them, in the space that the model declares, as pixels of the original
picture. The space is never found by trying.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from mmrl.coordinates import Frame, Size, convert
from mmrl.evals.benchmark import Record, Response
from mmrl.evals.reading import Found
from mmrl.verify.choices import LONGEST
from mmrl.verify.detections import read_detections
from mmrl.verify.reading import Box, LabelledBox, json_boxes, read_box, read_list


class NoSpace(ValueError):
    """The boxes cannot be converted: the size of the picture, or of what was seen, is missing."""


def picture_size(record: Record, key: str = "image") -> Size | None:
    """Return width and height of a record's picture: its columns, or the header of its bytes; None
    where the record holds neither.
    """
    width, height = record.get("width"), record.get("height")
    if isinstance(width, int | float) and isinstance(height, int | float):
        return (width, height) if width > 0 and height > 0 else None
    image = record.get(key)
    data = image.get("bytes") if isinstance(image, Mapping) else None
    return _size_of(data) if isinstance(data, bytes) else None


def read_boxes(found: Found) -> list[Box] | None:
    """Return the boxes of an answer, as the model wrote them; None where there is none.

    A JSON list of boxes or of objects with boxes, else the first box in the text.
    """
    text = found.text[-LONGEST:]
    listed = json_boxes(read_list(text) or ())
    if listed:
        return [item.box for item in listed]
    box = read_box(text)
    return None if box is None else [box]


def read_labelled(found: Found, *, same_corners: bool = False) -> list[LabelledBox] | None:
    """Return the labelled boxes of an answer in the order of generation; None where there is no
    list, or none in it that has a label and corners in order.

    Args:
        found: The answer.
        same_corners: Keep boxes that have the same corners as an earlier one.
    """
    if not same_corners:
        return read_detections(found.text)
    listed = read_list(found.text)
    if listed is None:
        return None
    boxes = [item for item in json_boxes(listed) or () if item.label is not None]
    valid = [item for item in boxes if item.box[0] <= item.box[2] and item.box[1] <= item.box[3]]
    return valid if valid or not listed else None


def to_pixels(box: Box, response: Response, size: Size | None) -> Box:
    """Return a box in pixels of the original picture.

    Raises:
        NoSpace: a size is missing that the conversion needs.
    """
    space = response.coordinates or "pixel"
    seen: Size | None = response.sizes[0] if response.sizes else size
    if space == "pixel" and (not response.sizes or seen == size):
        return box
    source = Frame(space=space, size=seen if space == "pixel" else None)
    try:
        left, top, right, bottom = convert(box, source, Frame(space="pixel", size=size))
    except ValueError as error:
        raise NoSpace(str(error)) from error
    return left, top, right, bottom


def corners(xywh: Any) -> Box:
    """Return left, top, right, bottom of a box that is given by its corner and its sides.

    Raises:
        ValueError: it is no such box.
    """
    numbers = [float(value) for value in xywh]
    if len(numbers) != 4 or min(numbers[2:]) < 0:
        raise ValueError(f"{xywh} is no box of x, y, width and height")
    left, top, width, height = numbers
    return left, top, left + width, top + height


def _size_of(data: bytes) -> Size | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size
    except (UnidentifiedImageError, OSError, ValueError):
        return None
