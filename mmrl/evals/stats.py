"""What a score is worth: avg@k, unbiased pass@k, majority votes, clustered bootstrap intervals and
paired tests.

pass@k is Chen et al.'s estimator (arXiv 2107.03374). The bootstrap draws whole clusters (items that
share an image, a video or a seed), with all samples of their items, from a fixed seed. McNemar's
test is exact: the binomial test on the items that one of two runs has right and the other wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean
from typing import TypeVar

import numpy as np

T = TypeVar("T")

RESAMPLES = 2000
SEED = 0
_CELLS = 2_000_000
"""Draws that are held in memory at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A value with the bounds of its bootstrap interval."""

    value: float
    low: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the chance that k of n samples, drawn without replacement, hold one of the c right
    ones: 1 - C(n-c, k) / C(n, k).

    Raises:
        ValueError: k is larger than n, or c is not within 0 to n.

    >>> round(pass_at_k(8, 2, 4), 6)
    0.785714
    """
    if not 1 <= k <= n or not 0 <= c <= n:
        raise ValueError(f"pass@{k} of {n} samples with {c} right ones is not defined")
    return 1 - comb(n - c, k) / comb(n, k)


def majority(votes: Sequence[tuple[Hashable | None, float]]) -> float:
    """Return the credit of the answer that most samples gave; the mean credit of those that tie.

    Args:
        votes: The normalised answer and the credit of each sample; None gives no vote.

    >>> majority([("7", 1.0), ("8", 0.0), ("7", 1.0), (None, 0.0)])
    1.0
    """
    given: dict[Hashable, list[float]] = defaultdict(list)
    for answer, credit in votes:
        if answer is not None:
            given[answer].append(credit)
    most = max(map(len, given.values()), default=0)
    return fmean(fmean(found) for found in given.values() if len(found) == most) if most else 0.0


def mean_interval(
    values: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = 0.95,
) -> Interval:
    """Return the mean of the items' values with its clustered bootstrap interval.

    Args:
        values: One per item, its samples already averaged.
        clusters: What each item is drawn with; items with an empty name, and all where this is
            None, stand alone.
        resamples: Draws.
        seed: Of the draws.
        level: Coverage.

    Raises:
        ValueError: there are no values.
    """
    sums, counts = _by_cluster(values, clusters)
    means = np.concatenate(
        [
            sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
            for drawn in _draws(len(sums), resamples, seed)
        ]
    )
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(value=float(sums.sum() / counts.sum()), low=float(low), high=float(high))


def aggregate_interval(
    items: Sequence[T],
    clusters: Sequence[str],
    aggregate: Callable[[Sequence[tuple[T, str]]], float],
    *,
    resamples: int,
    seed: int = SEED,
    level: float = 0.95,
) -> Interval:
    """Return any number of a set of items with its clustered bootstrap interval.

    Args:
        items: What the number is made of.
        clusters: What each item is drawn with; empty for items that stand alone.
        aggregate: From items, each with the name of the copy of the cluster that it was drawn in,
            to the number.
        resamples: Draws.
        seed: Of the draws.
        level: Coverage.
    """
    members: dict[Hashable, list[T]] = defaultdict(list)
    for place, (item, cluster) in enumerate(zip(items, clusters, strict=True)):
        members[cluster or place].append(item)
    groups = list(members.values())
    value = aggregate([(item, f"{at}.0") for at, group in enumerate(groups) for item in group])
    found = [
        aggregate([(item, name) for at, name in _copies(row) for item in groups[at]])
        for drawn in _draws(len(groups), resamples, seed)
        for row in drawn
    ]
    tail = (1 - level) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Interval(value=value, low=float(low), high=float(high))


def paired_interval(
    values: Sequence[float],
    others: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = 0.95,
) -> Interval:
    """Return the difference of two runs' means on the same items, with its interval: each draw
    takes the same items of both.
    """
    differences = [a - b for a, b in zip(values, others, strict=True)]
    return mean_interval(differences, clusters, resamples=resamples, seed=seed, level=level)


def mcnemar(wins: int, losses: int) -> float:
    """Return the two-sided exact p-value that two runs are equally good, from the number of items
    that only the first, and that only the second, has right.

    >>> round(mcnemar(175, 148), 3)
    0.148
    """
    n = wins + losses
    tail = sum(comb(n, count) for count in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / 2**n)


def _copies(row: np.ndarray) -> Iterator[tuple[int, str]]:
    """Yield each cluster of a draw as often as it was drawn, each copy with a name of its own."""
    for at, count in enumerate(np.bincount(row).tolist()):
        for copy in range(count):
            yield at, f"{at}.{copy}"


def _by_cluster(
    values: Sequence[float], clusters: Sequence[Hashable] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of the values, and the number of items, of each cluster in order of place."""
    if not values:
        raise ValueError("there are no values")
    places: dict[Hashable, int] = {}
    names = clusters if clusters is not None else [""] * len(values)
    index = [
        places.setdefault(("alone", place) if name in ("", None) else ("named", name), len(places))
        for place, name in enumerate(names)
    ]
    if len(index) != len(values):
        raise ValueError(f"{len(values)} values but {len(index)} clusters")
    return np.bincount(index, weights=values), np.bincount(index)


def _draws(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Return indices of clusters drawn with replacement, [resamples, count] in slices of rows."""
    generator = np.random.default_rng(seed)
    rows = max(1, _CELLS // count)
    for start in range(0, resamples, rows):
        size = (min(rows, resamples - start), count)
        yield generator.integers(0, count, size=size, dtype=np.int32)
