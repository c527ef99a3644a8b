"""Compares two runs item by item: which is better, by how much, and whether that could be chance.

Both must hold the same items; one that only a single run holds is an error, never left out. The
difference is A - B with the paired bootstrap that draws clusters; the test is McNemar's exact one
where every item is right or wrong once, and the sign test on the items' means where there are
degrees or several samples.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mmrl.errors import RunError
from mmrl.evals.benchmark import Benchmark
from mmrl.evals.finished import Finished, FinishedItem, FinishedTask, describe
from mmrl.evals.scoring import ItemResult, check_modes, statuses
from mmrl.evals.stats import (
    RESAMPLES,
    SEED,
    Interval,
    aggregate_interval,
    mcnemar,
    paired_interval,
)
from mmrl.evals.summary import DIGITS, aggregated, draws, mean_value

Pair = tuple[ItemResult, ItemResult]

GROUP_RESAMPLES = 1000
_NAMED = 5
"""Ids that an error names."""


def compare(
    first: Finished, second: Finished, *, mode: str | None = None, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return the comparison of two runs as JSON; differences are of the first minus the second.

    Args:
        first: A.
        second: B.
        mode: The mode to compare in; all that both have if not given.
        resamples: Draws of the bootstrap.

    Raises:
        RunError: the runs do not hold the same tasks, items and scorers.
        DataError: a benchmark has no such mode.
    """
    names = (str(first.path), str(second.path))
    if set(first.tasks) != set(second.tasks):
        held = [", ".join(sorted(one.tasks)) for one in (first, second)]
        raise RunError(
            f"A ({names[0]}) holds the tasks {held[0]}, B ({names[1]}) {held[1]}; "
            "name those that both hold, tasks=NAME,..."
        )
    told = [describe(one) for one in (first, second)]
    return {
        "a": {"path": names[0], **told[0]},
        "b": {"path": names[1], **told[1]},
        "differ": [key for key in {**told[0], **told[1]} if told[0].get(key) != told[1].get(key)],
        "tasks": {
            name: _task(first.tasks[name], second.tasks[name], names, mode, resamples)
            for name in first.tasks
        },
    }


def align(
    first: FinishedTask, second: FinishedTask, names: tuple[str, str]
) -> list[tuple[FinishedItem, FinishedItem]]:
    """Return the items of two runs side by side, in the order of the first.

    Args:
        first: A task of A.
        second: The same task of B.
        names: What A and B are called.

    Raises:
        RunError: the items are not the same.
    """
    task = first.benchmark.name
    if first.version != second.version:
        raise RunError(
            f"{task}: A was scored by version {first.version}, B by {second.version}; "
            "'mmrl eval rescore RUN' scores a run again"
        )
    ours, theirs = (_by_id(part, name) for part, name in zip((first, second), names, strict=True))
    alone = [
        [item for item in mine if item not in other]
        for mine, other in ((ours, theirs), (theirs, ours))
    ]
    if any(alone):
        raise RunError(
            f"{task}: A and B do not hold the same items: {_some(alone[0])} only in A ({names[0]}),"
            f" {_some(alone[1])} only in B ({names[1]}); evaluate both on the same data, split and "
            "limit"
        )
    for item, ours_has in ours.items():
        problem = _other(ours_has, theirs[item])
        if problem:
            raise RunError(f"{task}: item {item} is not the same in A and B: {problem}")
    return [(ours[item], theirs[item]) for item in ours]


def _task(
    first: FinishedTask,
    second: FinishedTask,
    names: tuple[str, str],
    mode: str | None,
    resamples: int,
) -> dict[str, Any]:
    benchmark = first.benchmark
    both = align(first, second, names)
    if not both:
        raise RunError(f"{benchmark.name}: there is nothing to compare")
    shared = [found for found in first.modes if found in second.modes]
    modes = check_modes(benchmark, mode) if mode else tuple(shared)
    absent = next((one for one in modes if one not in shared), None)
    if absent or not modes:
        raise RunError(f"{benchmark.name}: A and B were not both scored in mode {absent or 'any'}")
    pairs = [(mine.result, other.result) for mine, other in both]
    return {
        "n": len(pairs),
        "clusters": len({a.item.cluster or ("", place) for place, (a, _) in enumerate(pairs)}),
        "samples": [_samples([pair[side] for pair in pairs]) for side in (0, 1)],
        "scorer": first.version,
        "metric": benchmark.metric,
        "prompts_differ": sum(_words(a) != _words(b) for a, b in both if a.prompt and b.prompt),
        "bootstrap": {
            "resamples": draws(benchmark, len(pairs), resamples),
            "seed": SEED,
            "level": 0.95,
        },
        "modes": {found: _mode(benchmark, pairs, found, resamples) for found in modes},
    }


def _mode(benchmark: Benchmark, pairs: Sequence[Pair], mode: str, resamples: int) -> dict[str, Any]:
    found = _counted(benchmark, pairs, mode)
    values, interval = _difference(benchmark, pairs, mode, resamples)
    ahead = {
        side: [pair[0].item.id for pair in pairs if sign * _gap(pair, mode) > 0]
        for side, sign in (("win_ids", 1), ("loss_ids", -1))
    }
    groups = {
        key: table for key in benchmark.groups if (table := _group(benchmark, pairs, mode, key))
    }
    errors = [
        sum(score.status == "error" for score in statuses([pair[side] for pair in pairs], mode))
        for side in (0, 1)
    ]
    return {**values, **interval, **found, "errors": errors, **ahead, "groups": groups}


def _difference(
    benchmark: Benchmark, pairs: Sequence[Pair], mode: str, resamples: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return both headline numbers, and their difference with its interval."""
    clusters = [pair[0].item.cluster for pair in pairs]
    if benchmark.aggregate is None:
        ours, theirs = ([mean_value(pair[side], mode) for pair in pairs] for side in (0, 1))
        interval = paired_interval(ours, theirs, clusters, resamples=resamples)
        return _numbers(sum(ours) / len(ours), sum(theirs) / len(theirs)), _rounded(interval)
    known: tuple[dict[Any, Any], dict[Any, Any]] = ({}, {})

    def headline(drawn: Sequence[tuple[Pair, str]], side: int) -> float:
        part = [(pair[side], name) for pair, name in drawn]
        return next(iter(aggregated(benchmark, part, mode, known[side]).values()))

    whole = [(pair, pair[0].item.cluster) for pair in pairs]
    ours, theirs = headline(whole, 0), headline(whole, 1)
    interval = aggregate_interval(
        pairs,
        clusters,
        lambda drawn: headline(drawn, 0) - headline(drawn, 1),
        resamples=draws(benchmark, len(pairs), resamples),
    )
    numbers = _rounded(interval) | {"difference": round(ours - theirs, DIGITS)}
    return _numbers(ours, theirs), numbers


def _counted(benchmark: Benchmark, pairs: Sequence[Pair], mode: str) -> dict[str, Any]:
    """Return how many items each run has the better of, and how likely that is by chance."""
    gaps = [_gap(pair, mode) for pair in pairs]
    wins, losses = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
    found: dict[str, Any] = {"wins": wins, "losses": losses, "same": len(gaps) - wins - losses}
    binary = all(
        len(result.samples) == 1 and mean_value(result, mode) in (0.0, 1.0)
        for pair in pairs
        for result in pair
    )
    if binary:
        right = sum(mean_value(a, mode) == mean_value(b, mode) == 1.0 for a, b in pairs)
        found |= {"both_right": right, "both_wrong": found["same"] - right}
    if benchmark.metric == "mAP":
        return {**found, "test": None, "p": None}
    test = "McNemar, exact" if binary else "sign test, exact"
    return {**found, "test": test, "p": float(f"{mcnemar(wins, losses):.6g}")}


def _group(
    benchmark: Benchmark, pairs: Sequence[Pair], mode: str, key: str
) -> dict[str, dict[str, Any]]:
    members: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        values = pair[0].item.groups.get(key, ())
        for value in (values,) if isinstance(values, str) else values:
            members[value].append(pair)
    return {value: _part(benchmark, members[value], mode) for value in sorted(members)}


def _part(benchmark: Benchmark, pairs: Sequence[Pair], mode: str) -> dict[str, Any]:
    counted = _counted(benchmark, pairs, mode)
    kept = {key: counted[key] for key in ("wins", "losses", "test", "p")}
    if benchmark.metric == "mAP" and benchmark.aggregate is not None:
        drawn = [[(pair[side], pair[0].item.cluster) for pair in pairs] for side in (0, 1)]
        ours, theirs = (
            next(iter(aggregated(benchmark, part, mode, {}).values())) for part in drawn
        )
        difference = {"difference": round(ours - theirs, DIGITS)}
        return {"n": len(pairs), **_numbers(ours, theirs), **difference, **kept}
    ours, theirs = ([mean_value(pair[side], mode) for pair in pairs] for side in (0, 1))
    clusters = [pair[0].item.cluster for pair in pairs]
    interval = paired_interval(ours, theirs, clusters, resamples=GROUP_RESAMPLES)
    means = _numbers(sum(ours) / len(ours), sum(theirs) / len(theirs))
    return {"n": len(pairs), **means, **_rounded(interval), **kept}


def _gap(pair: Pair, mode: str) -> float:
    """Return how much better the first is; what is equal but for rounding is equal."""
    gap = mean_value(pair[0], mode) - mean_value(pair[1], mode)
    return gap if abs(gap) > 1e-9 else 0.0


def _by_id(task: FinishedTask, name: str) -> dict[str, FinishedItem]:
    found: dict[str, FinishedItem] = {}
    for item in task.items:
        if item.result.item.id in found:
            raise RunError(
                f"{name}: {task.benchmark.name} has two items with the id {item.result.item.id!r}, "
                "which cannot be told apart"
            )
        found[item.result.item.id] = item
    return found


def _words(item: FinishedItem) -> list[str]:
    """Return the texts of a prompt; the same picture may lie in two places."""
    parts = [part for message in item.prompt for part in message["content"]]
    return [part.get("text", part["type"]) for part in parts]


def _some(ids: Sequence[str]) -> str:
    more = ", ..." if len(ids) > _NAMED else ""
    return f"{len(ids)} ({', '.join(ids[:_NAMED])}{more})" if ids else "none"


def _other(ours: FinishedItem, theirs: FinishedItem) -> str:
    """Say in what two items of one id differ; nothing where they are the same."""
    a, b = ours.result.item, theirs.result.item
    facts = (
        ("answer", a.answer, b.answer),
        ("choices", list(a.choices), list(b.choices)),
        ("question", a.fields.get("question"), b.fields.get("question")),
    )
    for name, mine, other in facts:
        shown = [json.dumps(value, ensure_ascii=False, default=str) for value in (mine, other)]
        if shown[0] != shown[1]:
            return f"its {name} is {shown[0][:120]} in A and {shown[1][:120]} in B"
    return ""


def _samples(results: Sequence[ItemResult]) -> int | list[int]:
    counts = [len(result.samples) for result in results]
    return counts[0] if min(counts) == max(counts) else [min(counts), max(counts)]


def _numbers(ours: float, theirs: float) -> dict[str, float]:
    return {"a": round(ours, DIGITS), "b": round(theirs, DIGITS)}


def _rounded(interval: Interval) -> dict[str, float]:
    return {
        "difference": round(interval.value, DIGITS),
        "low": round(interval.low, DIGITS),
        "high": round(interval.high, DIGITS),
    }
