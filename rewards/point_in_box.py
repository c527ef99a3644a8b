"""One point: whether it lies in the gold box, borders included (UI-R1, arXiv 2503.21620).

Where the row's answer is a point, the predicted one has to be within `distance` of it (TON, arXiv
2505.16854: 0.14 in unit coordinates).

    answer [10, 10, 20, 20]: <answer>(10, 10)</answer> -> 1,  <answer>(9, 10)</answer> -> 0
"""

from __future__ import annotations

import math

from mmrl.answer import BadGold, NoAnswer, answered, tagged
from mmrl.coordinates import (
    Size,
    Space,
    box_problem,
    convert,
    gold_frame,
    point_problem,
    spoken_frame,
    spoken_numbers,
)
from mmrl.reward import Judge, verifier
from mmrl.types import Row, Sample
from mmrl.verify.reading import read_box, read_point

ROUNDING = 1e-9


def _right(
    row: Row,
    *,
    coordinates: Space | None = None,
    image_size: Size | None = None,
    seen_size: Size | None = None,
) -> str:
    box = read_box(row.answer)
    point = (
        read_point(row.answer) if box is None else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    )
    if point is None:
        raise BadGold(f"{row.answer!r} is neither a box nor a point")
    return tagged(
        spoken_numbers(point, row, spoken=coordinates, image_size=image_size, seen_size=seen_size)
    )


@verifier(modality="image", paper="UI-R1, arXiv 2503.21620; TON, arXiv 2505.16854", gold=_right)
def point_in_box(
    *,
    distance: float | None = None,
    coordinates: Space | None = None,
    image_size: Size | None = None,
    seen_size: Size | None = None,
    whole_text: bool = False,
) -> Judge:
    """1.0 for a point in the gold box, or near the gold point.

    Args:
        distance: How far from a gold point is near, in the row's coordinates.
        coordinates: The space that the model speaks; the row's own space if not given.
        image_size: Width and height of the image, where the row does not say them and pixels are
            converted.
        seen_size: Width and height of the image as the model saw it, if it speaks pixels of a
            resized one.
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """

    def judge(sample: Sample) -> float:
        row = sample.row
        frame = gold_frame(row, spoken=coordinates, image_size=image_size)
        spoken = spoken_frame(row, frame, spoken=coordinates, seen_size=seen_size)
        box, point = read_box(row.answer), read_point(row.answer)
        if box is None and point is None:
            raise BadGold(f"{row.answer!r} is neither a box nor a point")
        problem = box_problem(box, frame) if box else point_problem(point or (), frame)
        if problem:
            raise BadGold(problem)
        if box is None and distance is None:
            raise BadGold(
                "the row's answer is a point: the parameter distance has to say what is near"
            )
        found = read_point(answered(sample, whole_text=whole_text))
        if found is None:
            raise NoAnswer("no point in the answer")
        try:
            x, y = convert(found, spoken, frame)
        except ValueError as error:
            raise BadGold(str(error)) from error
        if box is not None:
            return float(box[0] <= x <= box[2] and box[1] <= y <= box[3])
        return float(point is not None and math.dist((x, y), point) <= (distance or 0.0) + ROUNDING)

    return judge
