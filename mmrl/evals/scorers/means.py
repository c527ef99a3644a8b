"""Headline numbers that are not the mean over all items: means over tasks, versions or subsets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from mmrl.evals.benchmark import Aggregate, Scored


def mean_over(key: str) -> Aggregate:
    """Return an aggregate: the mean over the values of a group key of their items' means.

    It names `mean_over_<key>`, then `accuracy`, the mean over the items.
    """

    def aggregate(scored: Sequence[Scored]) -> Mapping[str, float]:
        means = mean_by(scored, lambda one: str(one.item.groups.get(key, "")))
        every = fmean(one.score.value for one in scored) if scored else 0.0
        return {f"mean_over_{key}": fmean(means.values()) if means else 0.0, "accuracy": every}

    return aggregate


def mean_by(scored: Sequence[Scored], key: Callable[[Scored], str]) -> dict[str, float]:
    """Return the mean value of the items of each key."""
    values: dict[str, list[float]] = defaultdict(list)
    for one in scored:
        values[key(one)].append(one.score.value)
    return {name: fmean(found) for name, found in values.items()}
