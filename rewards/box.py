"""One box: how far the predicted box overlaps the gold one, on a scale that both are converted to.

The score is the IoU itself; with `threshold` it is the IoU where it reaches the threshold and 0
below (V-Triune, arXiv 2505.18129, equation 5), and the threshold may follow the progress of the
stage: {0: 0.85, 0.1: 0.95, 0.25: 0.99} is V-Triune's dynamic one. Curr-ReFT (arXiv 2503.07065)
gives 1 above 0.5 instead (`binary`, `strict`).

    answer [0, 0, 100, 100]: <answer>[0, 0, 100, 92]</answer> -> 0.92
                             <answer>[200, 200, 300, 300]</answer> -> 0
"""

from __future__ import annotations

from typing import Literal

from mmrl.answer import BadGold, NoAnswer, answered, tagged
from mmrl.coordinates import (
    Size,
    Space,
    convert,
    gold_box,
    gold_frame,
    spoken_frame,
    spoken_numbers,
)
from mmrl.reward import Judge, verifier
from mmrl.schedule import Schedule
from mmrl.types import Row, Sample, Verdict
from mmrl.verify.boxes import giou, iou
from mmrl.verify.reading import Box, read_box

ROUNDING = 1e-9
"""An IoU that misses the threshold by less than this reaches it: the rest is floating point."""


def _right(
    row: Row,
    *,
    coordinates: Space | None = None,
    image_size: Size | None = None,
    seen_size: Size | None = None,
) -> str:
    box = gold_box(row, gold_frame(row, spoken=coordinates, image_size=image_size))
    return tagged(
        spoken_numbers(box, row, spoken=coordinates, image_size=image_size, seen_size=seen_size)
    )


@verifier(
    modality="image", paper="V-Triune, arXiv 2505.18129; MoDoMoDo, arXiv 2505.24871", gold=_right
)
def box(
    *,
    threshold: Schedule | None = None,
    measure: Literal["iou", "giou"] = "iou",
    binary: bool = False,
    strict: bool = False,
    inclusive: bool = False,
    coordinates: Space | None = None,
    image_size: Size | None = None,
    seen_size: Size | None = None,
    whole_text: bool = False,
) -> Judge:
    """Overlap of the predicted box with the gold box.

    Args:
        threshold: The least overlap that counts, a number or a schedule; without it every overlap
            does.
        measure: `iou` (0 to 1) or `giou` (-1 to 1), the generalised IoU.
        binary: Give 1 instead of the overlap where the threshold is reached.
        strict: The overlap has to exceed the threshold.
        inclusive: The corners name pixels that belong to the box (Curr-ReFT, VLM-R1).
        coordinates: The space that the model speaks; the row's own space if not given.
        image_size: Width and height of the image, where the row does not say them and pixels are
            converted.
        seen_size: Width and height of the image as the model saw it, if it speaks pixels of a
            resized one.
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """
    if binary and threshold is None:
        raise ValueError("binary needs a threshold")
    if threshold is not None and max(threshold.values) > 1:
        raise ValueError(f"threshold {threshold.given()} is above 1: no overlap reaches it")
    if inclusive and measure == "giou":
        raise ValueError("inclusive goes with measure 'iou' only")

    def judge(sample: Sample) -> Verdict:
        gold, predicted = _both(sample, coordinates, image_size, seen_size, whole_text)
        overlap = (
            giou(predicted, gold)
            if measure == "giou"
            else iou(predicted, gold, inclusive=inclusive)
        )
        score = overlap
        if threshold is not None:
            least = threshold.at(sample.progress)
            reached = overlap > least + ROUNDING if strict else overlap >= least - ROUNDING
            score = (1.0 if binary else overlap) if reached else 0.0
        return Verdict(score=score, parts={measure: overlap})

    return judge


def _both(
    sample: Sample,
    coordinates: Space | None,
    image_size: Size | None,
    seen_size: Size | None,
    whole_text: bool,
) -> tuple[Box, Box]:
    """Return the gold box and the predicted box, both in the space of the gold box."""
    row: Row = sample.row
    frame = gold_frame(row, spoken=coordinates, image_size=image_size)
    gold = gold_box(row, frame)
    found = read_box(answered(sample, whole_text=whole_text))
    if found is None:
        raise NoAnswer("no box of four numbers in the answer")
    spoken = spoken_frame(row, frame, spoken=coordinates, seen_size=seen_size)
    try:
        left, top, right, bottom = convert(found, spoken, frame)
    except ValueError as error:
        raise BadGold(str(error)) from error
    return gold, (left, top, right, bottom)
