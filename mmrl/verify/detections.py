"""Lists of labelled boxes: reading them from text, matching them with gold ones, average precision.

The list is what V-Triune asks for (arXiv 2505.18129): `[{'bbox_2d': [x1, y1, x2, y2], 'label':
'name'}]` with single or double quotes; a list that was cut off is closed after its last whole item.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from mmrl.answer import BadGold, extract
from mmrl.verify.boxes import iou
from mmrl.verify.reading import LabelledBox, json_boxes, read_list

# The exact doubles of numpy.linspace(0.5, 0.95, 10) and numpy.linspace(0, 1, 101), on which COCO's
# evaluation compares; a test holds them against numpy.
COCO_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.8999999999999999, 0.95)
COCO_RECALLS = (*(index * 0.01 for index in range(100)), 1.0)
COCO_MOST = 100
"""COCO looks at no more predictions of one label in one image."""
_EPSILON = 2.220446049250313e-16

ROUNDING = 1e-9
"""An IoU that misses a threshold by less than this reaches it: the rest is floating point."""

Overlaps = Sequence[Sequence[float]]
"""IoU by gold box and prediction."""


def read_detections(text: str) -> list[LabelledBox] | None:
    """Return the valid items of a list of labelled boxes, the first of each that have the same
    corners.

    Valid are four numbers with x1 <= x2 and y1 <= y2, and a label. `[]` is an empty list; a list
    with no valid item, or no list at all, is None.

    >>> read_detections("[{'bbox_2d': [1, 2, 3, 4], 'label': 'dog'}, {'bb")[0].label
    'dog'
    """
    raw = read_list(text)
    if raw is None:
        return None
    seen: dict[tuple[float, ...], LabelledBox] = {}
    for item in json_boxes(raw) or ():
        if item.label is not None and item.box[0] <= item.box[2] and item.box[1] <= item.box[3]:
            seen.setdefault(item.box, item)
    return list(seen.values()) if seen or not raw else None


def gold_detections(answer: Any) -> list[LabelledBox]:
    """Return the boxes of a row's answer: the list itself, or text in which it is written.

    Raises:
        BadGold: it is no list, or an item is no labelled box with an area.
    """
    if isinstance(answer, str):
        inside = extract(answer)
        raw = read_list(inside if inside is not None else answer)
    else:
        raw = [answer] if isinstance(answer, dict) else answer
    if not isinstance(raw, list | tuple):
        raise BadGold("the row's answer is no list of boxes")
    found = json_boxes(raw) if raw else []
    if found is None or len(found) < len(raw):
        raise BadGold("the row's answer holds an item that is no box of four numbers")
    for item in found:
        if item.label is None:
            raise BadGold(f"box {list(item.box)} has no label")
    return found


def overlaps(gold: Sequence[LabelledBox], predicted: Sequence[LabelledBox]) -> list[list[float]]:
    """Return the IoU of each gold box with each prediction."""
    return [[iou(first.box, second.box) for second in predicted] for first in gold]


def match_by_overlap(ious: Overlaps, same: Sequence[Sequence[bool]]) -> list[tuple[float, float]]:
    """Match the pair with the largest IoU among those left, again and again.

    Returns (IoU, IoU that counts) of each pair, largest first; a pair whose labels differ is
    matched but counts 0. The pairs that reach a threshold are the matching at that threshold.
    """
    pairs = sorted(
        (-value, row, column)
        for row, values in enumerate(ious)
        for column, value in enumerate(values)
        if value > 0
    )
    rows: set[int] = set()
    columns: set[int] = set()
    matched = []
    for negative, row, column in pairs:
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            matched.append((-negative, -negative if same[row][column] else 0.0))
    return matched


def match_by_label(
    ious: Overlaps, same: Sequence[Sequence[bool]], threshold: float
) -> list[tuple[float, float]]:
    """Give each gold box in turn its best free prediction of the same label, if it reaches the
    threshold."""
    taken: set[int] = set()
    matched = []
    for values, labels in zip(ious, same, strict=True):
        best, chosen = 0.0, -1
        for column, value in enumerate(values):
            if labels[column] and value > best and column not in taken:
                best, chosen = value, column
        if chosen >= 0 and best >= threshold - ROUNDING:
            taken.add(chosen)
            matched.append((best, best))
    return matched


def average_precisions(
    gold: Sequence[str], predicted: Sequence[str], ious: Overlaps
) -> tuple[float, ...]:
    """Return COCO's average precision at each of its ten thresholds, for one image.

    All predictions have the same score, so their order is the order of generation. Labels that no
    gold box has are left out. Equal to pycocotools, which is too slow to be called for every
    completion.

    Args:
        gold: The labels of the gold boxes.
        predicted: The labels of the predictions.
        ious: IoU of each gold box with each prediction.
    """
    by_label = {}
    for label in dict.fromkeys(gold):
        rows = [row for row, name in enumerate(gold) if name == label]
        columns = [column for column, name in enumerate(predicted) if name == label][:COCO_MOST]
        by_label[label] = _precisions_of_label(rows, columns, ious)
    return tuple(
        sum(values[index] for values in by_label.values()) / len(by_label)
        for index in range(len(COCO_THRESHOLDS))
    )


def _precisions_of_label(
    rows: Sequence[int], columns: Sequence[int], ious: Overlaps
) -> list[float]:
    near = [
        [(row, ious[row][column]) for row in rows if ious[row][column] >= 0.5] for column in columns
    ]
    known: dict[tuple[bool, ...], float] = {}
    precisions = []
    for threshold in COCO_THRESHOLDS:
        hits = find_hits(near, threshold)
        if hits not in known:
            known[hits] = interpolated_precision(hits, len(rows))
        precisions.append(known[hits])
    return precisions


def find_hits(near: Sequence[Sequence[tuple[int, float]]], threshold: float) -> tuple[bool, ...]:
    """Tell for each prediction whether it finds a gold box that is still free.

    Args:
        near: For each prediction, in its order, the gold boxes that it overlaps and how far.
        threshold: The least overlap that counts.
    """
    taken: set[int] = set()
    hits = []
    for candidates in near:
        best, chosen = threshold, -1
        for row, value in candidates:
            if value >= best and row not in taken:
                best, chosen = value, row
        if chosen >= 0:
            taken.add(chosen)
        hits.append(chosen >= 0)
    return tuple(hits)


def interpolated_precision(hits: Sequence[bool], gold_count: int) -> float:
    """Return the precision averaged over COCO's 101 recalls, each the best at that recall or
    beyond."""
    precisions, recalls, found = [], [], 0
    for rank, hit in enumerate(hits, start=1):
        found += hit
        precisions.append(found / (rank + _EPSILON))
        recalls.append(found / gold_count)
    for index in range(len(precisions) - 2, -1, -1):
        precisions[index] = max(precisions[index], precisions[index + 1])
    total, reached = 0.0, 0
    for precision, recall in zip(precisions, recalls, strict=True):
        upto = bisect_right(COCO_RECALLS, recall)
        total += precision * (upto - reached)
        reached = upto
    return total / len(COCO_RECALLS)
