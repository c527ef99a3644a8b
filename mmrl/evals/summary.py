"""The numbers of a benchmark: its metric with an interval, pass@k and maj@k, how answers were
found, what became of the others, and the same by group.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from mmrl.errors import RunError
from mmrl.evals.benchmark import Benchmark, Scored
from mmrl.evals.scoring import ItemResult, statuses
from mmrl.evals.stats import (
    RESAMPLES,
    SEED,
    Interval,
    aggregate_interval,
    majority,
    mean_interval,
    pass_at_k,
)

DIGITS = 6
AGGREGATE_RESAMPLES = (50, 200)
"""Least and most draws where each one computes the whole metric again."""
AGGREGATED = 500_000
"""Items of all those draws together, within these bounds."""


def summarise(
    benchmark: Benchmark,
    results: Sequence[ItemResult],
    modes: Sequence[str],
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Return all numbers of a benchmark as JSON, shares of one.

    Raises:
        RunError: there are no items.
    """
    if not results:
        raise RunError(f"{benchmark.name}: there is nothing to score")
    samples = [len(result.samples) for result in results]
    return {
        "benchmark": benchmark.name,
        "version": benchmark.version,
        "metric": benchmark.metric,
        "n": len(results),
        "clusters": len({r.item.cluster or ("", place) for place, r in enumerate(results)}),
        "samples": min(samples) if min(samples) == max(samples) else [min(samples), max(samples)],
        "bootstrap": {
            "resamples": draws(benchmark, len(results), resamples),
            "seed": SEED,
            "level": 0.95,
        },
        "modes": {mode: _mode(benchmark, results, mode, resamples) for mode in modes},
        "notes": list(benchmark.notes),
    }


def check_errors(summary: Mapping[str, Any], most: float) -> None:
    """Refuse a result in which too many samples have no verdict.

    Raises:
        RunError: their share is larger than `most`.
    """
    mode, found = max(
        summary["modes"].items(), key=lambda entry: entry[1]["status"].get("error", 0)
    )
    total = sum(found["status"].values())
    errors = found["status"].get("error", 0)
    if errors > most * total:
        raise RunError(
            f"{summary['benchmark']}: {errors} of {total} samples have no verdict ({mode}), "
            f"more than max_errors={most:g}; the first: {found['first_error']}"
        )


def _mode(
    benchmark: Benchmark, results: Sequence[ItemResult], mode: str, resamples: int
) -> dict[str, Any]:
    scores = list(statuses(results, mode))
    first = _first_error(results, mode)
    name, interval, numbers = measure(benchmark, results, mode, resamples)
    found: dict[str, Any] = {"name": name, **_rounded(interval)}
    if numbers:
        found["numbers"] = {key: round(value, DIGITS) for key, value in numbers.items()}
    found |= _at_k(results, mode)
    found["status"] = _counted(score.status for score in scores)
    found["how"] = _counted(score.how for score in scores)
    if first is not None:
        found["first_error"] = first
    found["groups"] = {
        key: table for key in benchmark.groups if (table := _group(benchmark, results, mode, key))
    }
    return found


def _first_error(results: Sequence[ItemResult], mode: str) -> str | None:
    """Return which item had the first error, and which it was, in one line."""
    errors = (
        f"item {result.item.id}: {' '.join(str(sample[mode].detail).split())}"
        for result in results
        for sample in result.samples
        if sample[mode].status == "error"
    )
    return next(errors, None)


def measure(
    benchmark: Benchmark, results: Sequence[ItemResult], mode: str, resamples: int
) -> tuple[str, Interval, dict[str, float]]:
    """Return the name of the headline number, the number with its interval, and the benchmark's
    other numbers.
    """
    clusters = [result.item.cluster for result in results]
    if benchmark.aggregate is None:
        values = [mean_value(result, mode) for result in results]
        return benchmark.metric, mean_interval(values, clusters, resamples=resamples), {}
    known: dict[tuple[int, str, int], Scored] = {}
    whole = [(result, result.item.cluster) for result in results]
    numbers = aggregated(benchmark, whole, mode, known)
    name = next(iter(numbers))
    interval = aggregate_interval(
        results,
        clusters,
        lambda drawn: aggregated(benchmark, drawn, mode, known)[name],
        resamples=draws(benchmark, len(results), resamples),
    )
    return name, dataclasses.replace(interval, value=numbers[name]), numbers


def draws(benchmark: Benchmark, count: int, resamples: int) -> int:
    """Return how often the bootstrap draws so many items."""
    if benchmark.aggregate is None:
        return resamples
    least, most = AGGREGATE_RESAMPLES
    return min(resamples, most, max(least, AGGREGATED // count))


def aggregated(
    benchmark: Benchmark,
    drawn: Sequence[tuple[ItemResult, str]],
    mode: str,
    known: dict[tuple[int, str, int], Scored],
) -> dict[str, float]:
    """Return the benchmark's own numbers, averaged over the samples: first of each item, second of
    each, and so on.

    Args:
        benchmark: Whose numbers.
        drawn: Items, each with the name of its copy of a cluster.
        mode: The mode.
        known: What was made before, as a draw holds mostly what others held.
    """
    assert benchmark.aggregate is not None
    found: dict[str, list[float]] = defaultdict(list)
    for place in range(min(len(result.samples) for result, _ in drawn)):
        scored = []
        for result, name in drawn:
            key = (id(result), name, place)
            if key not in known:
                item = dataclasses.replace(result.item, cluster=name)
                known[key] = Scored(item=item, score=result.samples[place][mode])
            scored.append(known[key])
        for key, value in benchmark.aggregate(scored).items():
            found[key].append(value)
    return {key: fmean(values) for key, values in found.items()}


def _at_k(results: Sequence[ItemResult], mode: str) -> dict[str, Any]:
    """Return pass@k and maj@k where every item has several samples."""
    least = min(len(result.samples) for result in results)
    if least < 2:
        return {}
    ks = [2**power for power in range(least.bit_length()) if 2**power <= least]
    counts = [
        (len(result.samples), sum(bool(sample[mode].correct) for sample in result.samples))
        for result in results
    ]
    passes = {k: fmean(pass_at_k(n, c, k) for n, c in counts) for k in dict.fromkeys([*ks, least])}
    votes = [
        majority([(sample[mode].normalised, sample[mode].value) for sample in result.samples])
        for result in results
    ]
    return {
        "pass@k": {str(k): round(value, DIGITS) for k, value in passes.items()},
        "maj@k": {str(least): round(fmean(votes), DIGITS)},
    }


def _group(
    benchmark: Benchmark, results: Sequence[ItemResult], mode: str, key: str
) -> dict[str, Any]:
    members: dict[str, list[ItemResult]] = defaultdict(list)
    for result in results:
        values = result.item.groups.get(key, ())
        for value in (values,) if isinstance(values, str) else values:
            members[value].append(result)
    return {value: _part(benchmark, members[value], mode) for value in sorted(members)}


def _part(benchmark: Benchmark, results: Sequence[ItemResult], mode: str) -> dict[str, Any]:
    if benchmark.metric == "mAP" and benchmark.aggregate is not None:
        drawn = [(result, result.item.cluster) for result in results]
        value = next(iter(aggregated(benchmark, drawn, mode, {}).values()))
        return {"n": len(results), "value": round(value, DIGITS)}
    values = [mean_value(result, mode) for result in results]
    interval = mean_interval(values, [result.item.cluster for result in results], resamples=1000)
    return {"n": len(results), **_rounded(interval)}


def mean_value(result: ItemResult, mode: str) -> float:
    """Return the mean credit of an item's samples."""
    return fmean(sample[mode].value for sample in result.samples)


def _rounded(interval: Interval) -> dict[str, float]:
    return {key: round(value, DIGITS) for key, value in dataclasses.asdict(interval).items()}


def _counted(words: Any) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))
