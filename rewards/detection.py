"""Detection as V-Triune rewards it: overlap, completeness and mAP, less for a wrong count.

After arXiv 2505.18129. At a threshold, with the pairs that a matching found: mean IoU over the gold
boxes; completeness = 1 - (missed share + false-alarm share) / 2; weighted = mean IoU * (1 - w) +
completeness * w, with w the ratio `iou_completeness`. Each score is multiplied by 0.6 ** |predicted
- gold|, and the ratios of the scores (all but w) average them.

V-Triune's released matching reads the indices of the last pair that it looked at; here they are
those of the best.

    answer [{"bbox_2d": [0, 0, 100, 100], "label": "dog"}], threshold 0.5:
    <answer>[{'bbox_2d': [0, 0, 100, 92], 'label': 'dog'}]</answer> -> 0.92
    <answer>[{'bbox_2d': [0, 0, 100, 92], 'label': 'cat'}]</answer> -> 0
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mmrl.answer import BadGold, NoAnswer, answered, tagged
from mmrl.coordinates import Frame, Size, Space, box_problem, convert, gold_frame, spoken_frame
from mmrl.reward import Judge, verifier
from mmrl.schedule import Schedule
from mmrl.types import Row, Sample, Verdict
from mmrl.verify.detections import (
    ROUNDING,
    average_precisions,
    gold_detections,
    match_by_label,
    match_by_overlap,
    overlaps,
    read_detections,
)
from mmrl.verify.reading import LabelledBox

Ratio = Literal[
    "iou_max_iou_first", "iou_max_label_first", "iou_completeness", "map", "map50", "map75"
]
DYNAMIC = Schedule.of({0.0: 0.85, 0.10: 0.95, 0.25: 0.99})
THRESHOLDS = (*(step / 100 for step in range(50, 100, 5)), 0.99)
"""Those that `average` averages over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """How well a matching did at a threshold, or on average over several."""

    mean_iou: float
    completeness: float
    precision: float
    recall: float


def _right(
    row: Row,
    *,
    coordinates: Space | None = None,
    image_size: Size | None = None,
    seen_size: Size | None = None,
    truncate: bool = False,
) -> str:
    gold = _gold(row, coordinates, image_size, seen_size, truncate)
    return tagged([{"bbox_2d": list(item.box), "label": item.label} for item in gold])


@verifier(modality="image", paper="V-Triune, arXiv 2505.18129", gold=_right)
def detection(
    *,
    ratios: dict[Ratio, float] | None = None,
    threshold: float | Literal["average", "dynamic"] = "average",
    size_penalty: float = 0.6,
    coordinates: Space | None = None,
    image_size: Size | None = None,
    seen_size: Size | None = None,
    truncate: bool = False,
    whole_text: bool = False,
) -> Judge:
    """Overlap, completeness and mAP of a list of labelled boxes.

    Args:
        ratios: Weights of the scores: iou_max_iou_first (pairs by overlap, whatever the label),
            iou_max_label_first (each gold box takes its best prediction of its label), map, map50,
            map75; and iou_completeness, the share of completeness in the first two. Only
            overlap-first if not given; the values of the paper's runs are not published.
        threshold: The IoU that a match needs: a number, a schedule, `dynamic` (0.85, then 0.95
            after a tenth of the stage, 0.99 after a quarter), or `average` over 0.50, 0.55 ... 0.95
            and 0.99.
        size_penalty: The factor for each box too many or too few.
        coordinates: The space that the model speaks; the row's own space if not given.
        image_size: Width and height of the image, where the row does not say them and pixels are
            converted.
        seen_size: Width and height of the image as the model saw it, if it speaks pixels of a
            resized one.
        truncate: Cut converted gold boxes to whole numbers, as a model that speaks norm1000 is
            taught to.
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """
    weights: dict[str, float] = {"iou_max_iou_first": 1.0} if ratios is None else {**ratios}
    _check(weights, size_penalty)
    if not isinstance(threshold, str) and not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold}, not an IoU above 0")
    share = weights.pop("iou_completeness", 0.0)
    total = sum(weights.values())
    fixed = threshold if isinstance(threshold, str) else None

    def judge(sample: Sample) -> Verdict:
        gold = _gold(sample.row, coordinates, image_size, seen_size, truncate)
        predicted = read_detections(answered(sample, whole_text=whole_text))
        if predicted is None:
            raise NoAnswer("no labelled box in the answer")
        if not gold or not predicted:
            return Verdict(score=float(not gold and not predicted))
        levels = THRESHOLDS if fixed == "average" else (_level(threshold, sample.progress),)
        scores, match = _scores(gold, predicted, weights, share, levels)
        penalty = size_penalty ** abs(len(predicted) - len(gold))
        score = sum(weights[key] * value for key, value in scores.items()) * penalty
        parts = {**scores, "size_penalty": penalty, "completeness": match.completeness}
        parts |= {"mean_iou": match.mean_iou, "precision": match.precision, "recall": match.recall}
        if len(levels) == 1:
            parts["threshold"] = levels[0]
        return Verdict(score=score / total if total else 0.0, parts=parts)

    return judge


def _check(weights: Mapping[str, float], size_penalty: float) -> None:
    for key, value in weights.items():
        if not 0 <= value <= 1:
            raise ValueError(f"ratios: {key} is {value}, not between 0 and 1")
    if not 0 <= size_penalty <= 1:
        raise ValueError(f"size_penalty is {size_penalty}, not between 0 and 1")


def _level(threshold: float | str, progress: float) -> float:
    return DYNAMIC.at(progress) if isinstance(threshold, str) else threshold


def _gold(
    row: Row, spoken: Space | None, image_size: Size | None, seen_size: Size | None, truncate: bool
) -> list[LabelledBox]:
    """Return the gold boxes in the space that the model speaks."""
    frame = gold_frame(row, spoken=spoken, image_size=image_size)
    target = spoken_frame(row, frame, spoken=spoken, seen_size=seen_size)
    return [_moved(item, row, frame, target, truncate) for item in gold_detections(row.answer)]


def _moved(
    item: LabelledBox, row: Row, source: Frame, target: Frame, truncate: bool
) -> LabelledBox:
    problem = box_problem(item.box, source, stated="coordinates" in row.extra)
    if problem:
        raise BadGold(problem)
    try:
        left, top, right, bottom = convert(item.box, source, target, truncate=truncate)
    except ValueError as error:
        raise BadGold(str(error)) from error
    return replace(item, box=(left, top, right, bottom))


def _scores(
    gold: Sequence[LabelledBox],
    predicted: Sequence[LabelledBox],
    weights: Mapping[str, float],
    share: float,
    levels: Sequence[float],
) -> tuple[dict[str, float], Match]:
    """Return each score that has a weight, and the matching that is reported."""
    ious = overlaps(gold, predicted)
    gold_labels, labels = _names(gold), _names(predicted)
    same = [[first == second for second in labels] for first in gold_labels]
    scores: dict[str, float] = {}
    by_overlap = match_by_overlap(ious, same)
    matchings: dict[str, Callable[[float], list[tuple[float, float]]]] = {
        "iou_max_label_first": lambda level: match_by_label(ious, same, level),
        "iou_max_iou_first": lambda level: by_overlap,
    }
    wanted = [key for key in matchings if weights.get(key)]
    match = Match(mean_iou=0.0, completeness=0.0, precision=0.0, recall=0.0)
    for key in wanted or ["iou_max_iou_first"]:
        found = [_match(matchings[key](at), at, len(gold), len(predicted)) for at in levels]
        match = _mean(found)
        if key in wanted:
            scores[key] = match.mean_iou * (1 - share) + match.completeness * share
    if any(weights.get(key) for key in ("map", "map50", "map75")):
        precisions = average_precisions(gold_labels, labels, ious)
        means = {
            "map": sum(precisions) / len(precisions),
            "map50": precisions[0],
            "map75": precisions[5],
        }
        scores |= {key: value for key, value in means.items() if weights.get(key)}
    return scores, match


def _names(items: Sequence[LabelledBox]) -> list[str]:
    return [(item.label or "").strip().lower() for item in items]


def _match(
    pairs: Sequence[tuple[float, float]], level: float, gold_count: int, predicted_count: int
) -> Match:
    reached = [counted for found, counted in pairs if found >= level - ROUNDING]
    precision = len(reached) / predicted_count if predicted_count else 1.0
    recall = len(reached) / gold_count
    return Match(
        mean_iou=sum(reached) / gold_count,
        completeness=(precision + recall) / 2,
        precision=precision,
        recall=recall,
    )


def _mean(matches: Sequence[Match]) -> Match:
    count = len(matches)
    return Match(
        mean_iou=sum(match.mean_iou for match in matches) / count,
        completeness=sum(match.completeness for match in matches) / count,
        precision=sum(match.precision for match in matches) / count,
        recall=sum(match.recall for match in matches) / count,
    )
