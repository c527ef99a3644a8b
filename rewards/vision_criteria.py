"""Vision-R1's criteria without human preference: format + recall + precision (arXiv 2503.18013).

Format is 1 where the text is a JSON list of labelled boxes whose coordinates fit the space.
Predictions are assigned to gold boxes so that the overlap is largest; recall is the share of gold
boxes with a valid pair, precision the mean overlap of the valid pairs over all pairs. Both pass
through f(x) = 1 from `upper` on, 0 below `lower`, else x: recall as a whole, precision by pair. The
three levels rise when the share `step` of the stage is done.

The paper's rule is the default. Its released code (`variant: code`) assigns by L1 distance, label
and generalised IoU, takes the generalised IoU as the overlap, keeps the recall levels of the
beginning, wants levels exceeded, and without `refine` counts pairs above 0.5 and leaves overlaps as
they are, at least 0.

    answer [{"bbox_2d": [0, 0, 100, 100], "label": "dog"}]:
    [{"bbox_2d": [0, 0, 100, 92], "label": "dog"}] -> 1 + 1 + 1,  no list -> 0
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mmrl.answer import BadGold, NoAnswer, after_thinking
from mmrl.coordinates import (
    Frame,
    Size,
    Space,
    box_problem,
    convert,
    gold_frame,
    spoken_frame,
    spoken_numbers,
)
from mmrl.reward import Judge, verifier
from mmrl.types import Row, Sample, Verdict
from mmrl.verify.boxes import assign, giou, iou
from mmrl.verify.detections import ROUNDING, gold_detections
from mmrl.verify.reading import LabelledBox, json_boxes, read_json, read_list, strip_fence

Levels = tuple[float, float, float]
"""The least overlap of a valid pair, and below and from which f is 0 and 1."""


_FARTHEST = 1e9
"""A larger distance makes no difference to the assignment, and an infinite one would spoil it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What holds at one moment of the stage."""

    valid: float
    recall_levels: tuple[float, float]
    pair_levels: tuple[float, float]
    strict: bool
    refine: bool


def _right(
    row: Row,
    *,
    coordinates: Space | None = None,
    image_size: Size | None = None,
    seen_size: Size | None = None,
) -> str:
    boxes = [
        {
            "bbox_2d": spoken_numbers(
                item.box, row, spoken=coordinates, image_size=image_size, seen_size=seen_size
            ),
            "label": item.label,
        }
        for item in gold_detections(row.answer)
    ]
    return json.dumps(boxes, ensure_ascii=False)


@verifier(modality="image", paper="Vision-R1, arXiv 2503.18013", gold=_right)
def vision_criteria(
    *,
    variant: Literal["paper", "code"] = "paper",
    refine: bool = True,
    begin: Levels = (0.5, 0.5, 0.75),
    advanced: Levels = (0.75, 0.75, 0.9),
    step: float = 0.5,
    match_labels: bool = False,
    coordinates: Space | None = None,
    image_size: Size | None = None,
    seen_size: Size | None = None,
) -> Judge:
    """Format, recall and precision of a list of labelled boxes, added.

    Args:
        variant: The rule of the paper, or of its released code.
        refine: Apply f; without it recall and precision are the plain shares.
        begin: Levels valid, lower, upper up to and including `step`.
        advanced: The levels after it.
        step: The share of the stage after which the levels rise; 1 for never.
        match_labels: A pair whose labels differ is not valid.
        coordinates: The space that the model speaks; the row's own space if not given.
        image_size: Width and height of the image, where the row does not say them and pixels are
            converted.
        seen_size: Width and height of the image as the model saw it, if it speaks pixels of a
            resized one.
    """
    for name, levels in (("begin", begin), ("advanced", advanced)):
        if not 0 <= levels[1] <= levels[2] <= 1 or not 0 <= levels[0] <= 1:
            raise ValueError(f"{name}: {levels} are no levels valid, lower <= upper, all 0 to 1")

    def judge(sample: Sample) -> Verdict:
        row = sample.row
        frame = gold_frame(row, spoken=coordinates, image_size=image_size)
        gold = _gold(row, frame)
        spoken = spoken_frame(row, frame, spoken=coordinates, seen_size=seen_size)
        text = sample.answer if sample.answer is not None else after_thinking(sample.text)
        found = _strict_list(text)
        well_formed = found is not None and _is_well_formed(found, spoken)
        found = read_list(text) if found is None else found
        predicted = [_converted(item, spoken, frame) for item in json_boxes(found) or ()]
        if not gold:
            return _sum(*[float(not predicted)] * 3)
        if found is None:
            raise NoAnswer("no list of boxes in the completion")
        rule = _rule(sample.progress)
        recall, precision = _recall_and_precision(gold, predicted, rule)
        return _sum(float(well_formed), recall, precision, rule.valid)

    def _rule(progress: float) -> Rule:
        valid, lower, upper = begin if progress <= step else advanced
        code = variant == "code"
        return Rule(
            valid=valid if refine or not code else 0.5,
            recall_levels=(begin[1], begin[2]) if code else (lower, upper),
            pair_levels=(lower, upper),
            strict=code,
            refine=refine,
        )

    def _recall_and_precision(
        gold: Sequence[LabelledBox], predicted: Sequence[LabelledBox], rule: Rule
    ) -> tuple[float, float]:
        if not predicted:
            return 0.0, 0.0
        overlap = giou if variant == "code" else iou
        overlaps = [[overlap(a.box, b.box) for b in predicted] for a in gold]
        chosen = assign(_prior(gold, predicted, overlaps) if variant == "code" else overlaps)
        pairs = [
            0.0
            if match_labels and _name(gold[row]) != _name(predicted[column])
            else overlaps[row][column]
            for row, column in enumerate(chosen)
            if column >= 0
        ]
        return _judge_pairs(pairs, len(gold), rule)

    return judge


def _judge_pairs(overlaps: Sequence[float], gold_count: int, rule: Rule) -> tuple[float, float]:
    """Return recall and precision of the assigned pairs."""
    valid = [_reaches(overlap, rule.valid, rule.strict) for overlap in overlaps]
    recall = sum(valid) / gold_count
    if not rule.refine:
        keep_all = rule.strict
        kept = [
            max(x, 0.0) if ok or keep_all else 0.0 for x, ok in zip(overlaps, valid, strict=True)
        ]
        return recall, sum(kept) / len(kept)
    refined = [
        _differentiate(overlap, rule.pair_levels, rule.strict) if ok else 0.0
        for overlap, ok in zip(overlaps, valid, strict=True)
    ]
    return _differentiate(recall, rule.recall_levels, rule.strict), sum(refined) / len(refined)


def _differentiate(value: float, levels: tuple[float, float], strict: bool) -> float:
    """Return 1 from the upper level on, 0 below the lower one, else the value itself."""
    lower, upper = levels
    if _reaches(value, upper, strict):
        return 1.0
    return value if _reaches(value, lower, strict) else 0.0


def _reaches(value: float, level: float, strict: bool) -> bool:
    return value > level + ROUNDING if strict else value >= level - ROUNDING


def _prior(
    gold: Sequence[LabelledBox], predicted: Sequence[LabelledBox], overlaps: list[list[float]]
) -> list[list[float]]:
    """Return what the released code maximises: generalised IoU, 1 for the label, less the L1
    distance."""
    return [
        [
            overlaps[row][column]
            + (_name(a) == _name(b))
            - min(_FARTHEST, sum(abs(x - y) for x, y in zip(a.box, b.box, strict=True)))
            for column, b in enumerate(predicted)
        ]
        for row, a in enumerate(gold)
    ]


def _name(item: LabelledBox) -> str:
    return (item.label or "").strip().lower()


def _sum(
    well_formed: float, recall: float, precision: float, valid: float | None = None
) -> Verdict:
    parts = {"format": well_formed, "recall": recall, "precision": precision}
    seen = {} if valid is None else {"valid_iou": valid}
    return Verdict(score=sum(parts.values()), parts=parts | seen)


def _gold(row: Row, frame: Frame) -> list[LabelledBox]:
    gold = gold_detections(row.answer)
    for item in gold:
        problem = box_problem(item.box, frame, stated="coordinates" in row.extra)
        if problem:
            raise BadGold(problem)
    return gold


def _strict_list(text: str) -> list[Any] | None:
    """Return the JSON list that the text is, and nothing besides; None where it is none."""
    try:
        value = read_json(strip_fence(text))
    except ValueError:
        return None
    if isinstance(value, Mapping):
        value = [value]
    return value if isinstance(value, list) else None


def _is_well_formed(found: Sequence[Any], spoken: Frame) -> bool:
    """Tell whether every item is a labelled box with four numbers of the space that the model
    speaks."""
    for item in found:
        boxes = json_boxes([item]) if isinstance(item, Mapping) else None
        if not boxes or boxes[0].label is None:
            return False
        if box_problem(boxes[0].box, spoken, stated=False):
            return False
    return True


def _converted(item: LabelledBox, spoken: Frame, frame: Frame) -> LabelledBox:
    try:
        left, top, right, bottom = convert(item.box, spoken, frame)
    except ValueError as error:
        raise BadGold(str(error)) from error
    return replace(item, box=(left, top, right, bottom))
