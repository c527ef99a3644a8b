"""Scores the responses of a finished run again by the scorers of today, and says what changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrl.errors import RunError
from mmrl.evals.benchmark import Benchmark, Item, find_benchmark
from mmrl.evals.log import SAMPLES, read_log, write_lines
from mmrl.evals.records import read_file
from mmrl.evals.run import (
    ITEMS,
    RESULTS,
    RUN,
    SCORES,
    Report,
    response_of,
    score_line,
    write_json,
)
from mmrl.evals.scoring import by_item, judge_all, missing
from mmrl.evals.summary import summarise

MOST_SHOWN = 20
"""Changed verdicts of a mode that are listed."""


def rescore_run(
    folder: Path, project: Path, *, report: Report = lambda summaries: None
) -> list[str]:
    """Score a run again, write its scores and results, and return lines that say what changed.

    Raises:
        RunError: the folder holds no finished run.
    """
    for name in (RUN, ITEMS, SCORES, RESULTS):
        if not (folder / name).is_file():
            raise RunError(f"{folder}: holds no finished evaluation: there is no {name}")
    described = json.loads((folder / RESULTS).read_bytes())
    logged = {line.key: line for line in read_log(folder / SAMPLES)}
    items = {(line["task"], line["id"]): line for line in read_file(folder / ITEMS)}
    benchmarks = {name: find_benchmark(name, project) for name in described["tasks"]}
    coordinates = described["engine"]["coordinates"]
    old_lines = list(read_file(folder / SCORES))
    new_lines: list[dict[str, Any]] = []
    scored: dict[str, list[Any]] = {name: [] for name in benchmarks}
    for old in old_lines:
        benchmark = benchmarks[old["task"]]
        item = _item(benchmark, items[old["task"], old["id"]])
        sample = logged.get(old["key"]) if old["key"] else None
        if sample is None:
            reason = next(iter(old["modes"].values())).get("detail") or "no answer"
            scores = missing(benchmark.modes, str(reason))
        else:
            response = response_of(sample, coordinates)
            scores = judge_all(benchmark, item, response, benchmark.modes)
        scored[old["task"]].append((item, scores))
        new_lines.append(score_line(benchmark, item, old["sample"], sample, scores))
    resamples = described["resamples"]
    summaries = {
        name: summarise(benchmark, by_item(scored[name]), benchmark.modes, resamples=resamples)
        for name, benchmark in benchmarks.items()
    }
    for name, benchmark in benchmarks.items():
        described["tasks"][name]["version"] = benchmark.version
    write_lines(folder / SCORES, new_lines)
    write_json(folder / RESULTS, {**described, "results": summaries})
    report([(benchmarks[name], summary) for name, summary in summaries.items()])
    return _changes(old_lines, new_lines)


def _item(benchmark: Benchmark, line: Mapping[str, Any]) -> Item:
    return benchmark.item(line["fields"])


def _changes(old: list[Any], new: list[dict[str, Any]]) -> list[str]:
    """Say how many verdicts changed, from which scorer to which, and list the first of them."""
    changed: dict[tuple[str, str, str, str], list[str]] = {}
    for before, after in zip(old, new, strict=True):
        for mode, verdict in after["modes"].items():
            was = before["modes"].get(mode, {})
            if (was.get("value"), was.get("status")) != (verdict["value"], verdict["status"]):
                name = (after["task"], mode, before["scorer"], after["scorer"])
                told = (
                    f"  {after['id']}/{after['sample']}: {was.get('value')} {was.get('status')} "
                    f"-> {verdict['value']} {verdict['status']}"
                )
                changed.setdefault(name, []).append(told)
    lines = []
    for (task, mode, old_version, new_version), told in changed.items():
        versions = f"version {old_version} -> {new_version}"
        lines += [f"{task}, {mode}, {versions}: {len(told)} verdicts changed", *told[:MOST_SHOWN]]
        if len(told) > MOST_SHOWN:
            lines.append(f"  and {len(told) - MOST_SHOWN} more")
    return lines or ["no verdict changed"]
