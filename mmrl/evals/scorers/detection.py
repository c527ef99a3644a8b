"""Average precision of detectors that give no confidences, over a whole data set.

COCO's measure: per label and threshold each prediction takes the best gold box that is free in its
picture, precision is averaged over 101 recalls, and then over labels and the thresholds 0.50 ...
0.95. All confidences are 1, so that ties fall in the order of pictures and of generation; the
result equals that of pycocotools, which is too slow for the bootstrap.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from mmrl.evals.benchmark import Aggregate, Item, Response, Score, Scored, unanswered
from mmrl.evals.reading import find_answer
from mmrl.evals.scorers.boxes import NoSpace, picture_size, read_labelled, to_pixels
from mmrl.verify.boxes import iou
from mmrl.verify.detections import COCO_MOST, COCO_RECALLS, COCO_THRESHOLDS, find_hits
from mmrl.verify.reading import Box

Boxes = tuple[tuple[str, Box], ...]
"""Labelled boxes in their order."""
Keep = Callable[[Boxes, Boxes], Boxes]


def score_detections(
    item: Item, response: Response, *, same_corners: bool = False, keep: Keep | None = None
) -> Score:
    """Return the boxes that a response found, in pixels, for the aggregate; the value is the mean
    average precision of this picture alone.

    Labels are compared without case. A list without a valid box, and no list, are no answer; `[]`
    is one.

    Args:
        item: Its answer is a list of `{"label": ..., "box": [left, top, right, bottom]}`.
        response: What the model wrote.
        same_corners: Keep boxes that have the same corners as an earlier one.
        keep: Takes gold and found boxes and returns the found ones that count.
    """
    found = find_answer(response)
    predicted = read_labelled(found, same_corners=same_corners)
    if predicted is None:
        return unanswered(answer=found.text[-200:] or None)
    try:
        boxes = [to_pixels(one.box, response, picture_size(item.fields)) for one in predicted]
    except NoSpace as error:
        return unanswered("error", answer=found.text[-200:], detail=str(error))
    labels = [named(one.label) for one in predicted]
    gold, here = gold_boxes(item), tuple(zip(labels, boxes, strict=True))
    here = here if keep is None else keep(gold, here)
    value = mean_average_precision([(gold, here)])["mAP"] if gold else float(not here)
    return Score(
        value=value,
        correct=None,
        answer=found.text[-200:],
        normalised=None,
        how=found.how,
        status="ok",
        detail=[{"label": label, "box": list(box)} for label, box in here],
    )


def gold_boxes(item: Item) -> Boxes:
    """Return the gold boxes of an item."""
    return tuple((named(one["label"]), _box(one["box"])) for one in item.answer)


def found_boxes(score: Score) -> Boxes:
    """Return the boxes that a score recorded."""
    detail: Any = score.detail if score.status == "ok" else None
    return tuple((one["label"], _box(one["box"])) for one in detail or ())


def named(label: str | None) -> str:
    """Return a label as it is compared."""
    return " ".join((label or "").casefold().split())


def mean_average_precision(pictures: Sequence[tuple[Boxes, Boxes]]) -> Mapping[str, float]:
    """Return mAP, AP50 and AP75 of pictures, each with its gold boxes and its predictions.

    Labels that no picture has as gold are left out, as COCO does. Without any gold box it is 0.
    """
    counts: dict[str, int] = {}
    outcomes: dict[str, list[np.ndarray]] = {}
    for gold, predicted in pictures:
        for label, total, matched in _matched(gold, predicted):
            counts[label] = counts.get(label, 0) + total
            outcomes.setdefault(label, []).append(matched)
    rows = [_precisions(outcomes[label], total) for label, total in counts.items() if total]
    means = [fmean(column) for column in zip(*rows, strict=True)] if rows else [0.0] * 10
    return {"mAP": fmean(means), "AP50": means[0], "AP75": means[5]}


def mean_map_over(key: str) -> Aggregate:
    """Return an aggregate: the mean over the values of a group key of the data sets' mAP, then
    their mean AP50, then each one's mAP.
    """

    # the bootstrap hands the same objects on in each draw; a picture that is held keeps its id
    read: dict[int, tuple[Scored, tuple[Boxes, Boxes]]] = {}

    def boxes(one: Scored) -> tuple[Boxes, Boxes]:
        if id(one) not in read:
            if len(read) >= _PICTURES:
                read.clear()
            read[id(one)] = one, (gold_boxes(one.item), found_boxes(one.score))
        return read[id(one)][1]

    def aggregate(scored: Sequence[Scored]) -> Mapping[str, float]:
        sets: dict[str, list[tuple[Boxes, Boxes]]] = {}
        for one in scored:
            sets.setdefault(str(one.item.groups.get(key, "")), []).append(boxes(one))
        found = {name: mean_average_precision(sets[name]) for name in sorted(sets)}
        if not found:
            return {"mAP": 0.0, "AP50": 0.0}
        means = {name: fmean(one[name] for one in found.values()) for name in ("mAP", "AP50")}
        return means | {f"mAP {name}": one["mAP"] for name, one in found.items() if name}

    return aggregate


_PICTURES = 200_000
"""Pictures whose boxes are held between draws."""


@functools.lru_cache(maxsize=65536)
def _matched(gold: Boxes, predicted: Boxes) -> list[tuple[str, int, np.ndarray]]:
    """Return for each label of a picture its gold boxes' number and which of its predictions find
    one, [thresholds, predictions]. The bootstrap asks for the same picture again and again.
    """
    found = []
    for label in dict.fromkeys(name for name, _ in (*gold, *predicted)):
        right = [box for name, box in gold if name == label]
        ours = [box for name, box in predicted if name == label][:COCO_MOST]
        near = [
            [(row, value) for row, box in enumerate(right) if (value := iou(box, one)) >= 0.5]
            for one in ours
        ]
        hits = np.array([find_hits(near, level) for level in COCO_THRESHOLDS], dtype=np.int64)
        found.append((label, len(right), hits))
    return found


def _precisions(pictures: Sequence[np.ndarray], total: int) -> list[float]:
    """Return for each threshold the precision averaged over COCO's 101 recalls, as
    `mmrl.verify.detections.interpolated_precision` does for one picture.
    """
    hits = np.concatenate(pictures, axis=1)
    if not hits.size:
        return [0.0] * len(hits)
    found = np.cumsum(hits, axis=1)
    precisions = found / (np.arange(1, hits.shape[1] + 1) + np.spacing(1))
    best = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1]
    reached = np.searchsorted(COCO_RECALLS, found / total, side="right")
    steps = np.diff(reached, axis=1, prepend=0)
    return (np.sum(best * steps, axis=1) / len(COCO_RECALLS)).tolist()


def _box(corners: Sequence[float]) -> Box:
    left, top, right, bottom = corners
    return left, top, right, bottom
