"""Overlap of boxes (left, top, right, bottom), and the assignment of predicted boxes to gold ones.

A box whose corners are reversed has no area and overlaps nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmrl.verify.reading import Box

_LARGEST = 1e300
"""Areas above it would overflow when they are added."""


def iou(first: Box, second: Box, *, inclusive: bool = False) -> float:
    """Return intersection over union, 0 to 1.

    Args:
        first: One box.
        second: The other.
        inclusive: The corners name pixels that belong to the box, so that a side is one longer.

    >>> round(iou((0, 0, 2, 2), (1, 1, 3, 3)), 6)
    0.142857
    """
    border = 1.0 if inclusive else 0.0
    width = min(first[2], second[2]) - max(first[0], second[0]) + border
    height = min(first[3], second[3]) - max(first[1], second[1]) + border
    if not (width > 0 and height > 0):
        return 0.0
    if first[0] > first[2] or first[1] > first[3] or second[0] > second[2] or second[1] > second[3]:
        return 0.0
    shared = width * height
    union = _area(first, border) + _area(second, border) - shared
    return shared / union if 0 < union < math.inf else 0.0


def giou(first: Box, second: Box) -> float:
    """Return generalised IoU, -1 to 1: IoU less the share of the hull that neither box covers.

    A box without area gets -1.

    >>> giou((0, 0, 1, 1), (0, 0, 1, 1)), giou((0, 0, 1, 1), (3, 0, 4, 1))
    (1.0, -0.5)
    """
    width = max(first[2], second[2]) - min(first[0], second[0])
    height = max(first[3], second[3]) - min(first[1], second[1])
    areas = _area(first, 0.0), _area(second, 0.0)
    hull = width * height
    if min(areas) <= 0 or first[0] > first[2] or second[0] > second[2] or not hull < _LARGEST:
        return -1.0
    overlap = iou(first, second)
    union = sum(areas) / (1 + overlap)
    return overlap - (hull - union) / hull


def assign(scores: Sequence[Sequence[float]]) -> list[int]:
    """Return, for each row, its column in the assignment with the largest sum (Hungarian method).

    A row may stay without a column (-1) only where there are fewer columns than rows. Rows are gold
    boxes, columns predictions; with n rows only the n best columns of each row can matter, so that
    thousands of predictions cost no more than n * n of them.

    >>> assign([[0.9, 0.8], [0.8, 0.1]])
    [1, 0]
    """
    if not scores or not scores[0]:
        return [-1] * len(scores)
    rows, columns = len(scores), len(scores[0])
    if rows > columns:
        turned = assign([[row[column] for row in scores] for column in range(columns)])
        found = [-1] * rows
        for column, row in enumerate(turned):
            found[row] = column
        return found
    if not all(math.isfinite(score) for row in scores for score in row):
        raise ValueError("scores to assign by have to be finite")
    kept = sorted({column for row in scores for column in _best(row, rows)})
    inner = _hungarian([[-row[column] for column in kept] for row in scores])
    return [kept[column] for column in inner]


def _area(box: Box, border: float) -> float:
    return (box[2] - box[0] + border) * (box[3] - box[1] + border)


def _best(row: Sequence[float], count: int) -> list[int]:
    return sorted(range(len(row)), key=lambda column: (-row[column], column))[:count]


def _hungarian(costs: list[list[float]]) -> list[int]:
    """Return the column of each row with the least sum of costs; at least as many columns as rows.

    Shortest augmenting paths with potentials; index 0 is a column that stands for 'no column yet'.
    """
    rows, columns = len(costs), len(costs[0])
    row_potential, column_potential = [0.0] * (rows + 1), [0.0] * (columns + 1)
    row_of = [0] * (columns + 1)
    for row in range(1, rows + 1):
        row_of[0] = row
        way = _augment(costs, row_of, row_potential, column_potential)
        column = next(iter(way))
        while column:
            row_of[column] = row_of[way[column]]
            column = way[column]
    found = [0] * rows
    for column in range(1, columns + 1):
        if row_of[column]:
            found[row_of[column] - 1] = column - 1
    return found


def _augment(
    costs: list[list[float]],
    row_of: list[int],
    row_potential: list[float],
    column_potential: list[float],
) -> dict[int, int]:
    """Grow a shortest-path tree from column 0 to a free column; return the path, free column
    first."""
    columns = len(column_potential) - 1
    least, previous, used = [math.inf] * (columns + 1), [0] * (columns + 1), [False] * (columns + 1)
    column = 0
    while row_of[column]:
        used[column] = True
        row, delta, following = row_of[column], math.inf, 0
        for other in range(1, columns + 1):
            if used[other]:
                continue
            reduced = costs[row - 1][other - 1] - row_potential[row] - column_potential[other]
            if reduced < least[other]:
                least[other], previous[other] = reduced, column
            if least[other] < delta:
                delta, following = least[other], other
        for other in range(columns + 1):
            if used[other]:
                row_potential[row_of[other]] += delta
                column_potential[other] -= delta
            else:
                least[other] -= delta
        column = following
    path = {}
    while column:
        path[column] = previous[column]
        column = previous[column]
    return path
