"""Reads what an evaluation left behind: the folder of a run, or the lines that `mmrl eval score`
wrote.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrl.errors import ConfigError, RunError
from mmrl.evals.benchmark import Benchmark, Item, Message, find_benchmark
from mmrl.evals.records import read_file
from mmrl.evals.run import ITEMS, RESULTS, SCORES
from mmrl.evals.scoring import ItemResult, score_of, split_line
from mmrl.evals.stored import read_item
from mmrl.registry import did_you_mean

_VERDICT = ("extracted", "normalized", "correct", "value", "how", "status", "detail", "modes")


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """One response of a model."""

    text: str | None
    """None where no engine could give one."""
    stop: str | None = None
    extraction: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedItem:
    """An item with everything that was answered to it."""

    result: ItemResult
    said: tuple[Said, ...]
    """A response for each of the result's samples."""
    prompt: Sequence[Message] = ()
    """As the run folder keeps it: media are paths, or hashes of bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedTask:
    """A benchmark with the verdicts on all of its items."""

    benchmark: Benchmark
    version: str
    """Of the scorer that gave the verdicts, which may not be today's."""
    modes: tuple[str, ...]
    items: tuple[FinishedItem, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """An evaluation that is over."""

    path: Path
    tasks: Mapping[str, FinishedTask]
    described: Mapping[str, Any] = field(default_factory=dict)
    """What results.json says: model, engine, settings, and the numbers under `results`, which are
    all that a file of scored lines has."""


def read_finished(path: Path, project: Path, *, only: Sequence[str] = ()) -> Finished:
    """Read a run folder, or a .jsonl file that `mmrl eval score` wrote.

    Args:
        path: The folder or file.
        project: Whose eval/ holds the benchmarks.
        only: Names of tasks to read; all if none is named.

    Raises:
        RunError: it is not the folder or file of a finished evaluation.
        ConfigError: a task is not in it.
    """
    if path.is_dir():
        found = _read_folder(path, project)
    elif path.is_file():
        found = _read_scored(path, project)
    else:
        raise RunError(f"{path}: no such folder or file; give the folder of an evaluation, out=DIR")
    for name in only:
        if name not in found.tasks:
            near = did_you_mean(name, found.tasks)
            raise ConfigError(
                f"tasks: {name!r} is not in {path}{near}; it holds {', '.join(found.tasks)}"
            )
    kept = {name: task for name, task in found.tasks.items() if not only or name in only}
    return Finished(path=path, tasks=kept, described=found.described)


def _read_folder(folder: Path, project: Path) -> Finished:
    for name in (ITEMS, SCORES, RESULTS):
        if not (folder / name).is_file():
            raise RunError(f"{folder}: holds no finished evaluation: there is no {name}")
    described = read_json(folder / RESULTS)
    try:
        benchmarks = {name: find_benchmark(name, project) for name in described["tasks"]}
        questions = {(line["task"], line["id"]): line for line in read_file(folder / ITEMS)}
        lines: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for line in read_file(folder / SCORES):
            lines.setdefault((line["task"], line["id"]), []).append(line)
        items: dict[str, list[FinishedItem]] = {name: [] for name in benchmarks}
        versions = {name: found.version for name, found in benchmarks.items()}
        for key, samples in lines.items():
            versions[key[0]] = samples[0]["scorer"]
            items[key[0]].append(_item(benchmarks[key[0]], questions[key], samples))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{folder}: {SCORES}, {ITEMS} and {RESULTS} do not belong together "
            f"({type(error).__name__}: {error}); evaluate again, which asks nothing twice"
        ) from error
    tasks = {
        name: FinishedTask(
            benchmark=found, version=versions[name], modes=found.modes, items=tuple(items[name])
        )
        for name, found in benchmarks.items()
    }
    return Finished(path=folder, tasks=tasks, described=described)


def _item(
    benchmark: Benchmark, question: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]
) -> FinishedItem:
    scores = tuple(
        {mode: score_of(fields) for mode, fields in line["modes"].items()} for line in samples
    )
    return FinishedItem(
        result=ItemResult(item=benchmark.item(question["fields"]), samples=scores),
        said=tuple(Said(text=line["response"], stop=line["stop"]) for line in samples),
        prompt=question["prompt"],
    )


def _read_scored(file: Path, project: Path) -> Finished:
    lines = list(read_file(file))
    summary = lines[-1].get("summary") if lines else None
    if not isinstance(summary, dict) or "benchmark" not in summary:
        raise RunError(
            f"{file}: its last line is no summary; give a run folder, or the whole output of "
            "'mmrl eval score'"
        )
    benchmark = find_benchmark(summary["benchmark"], project)
    modes = tuple(summary["modes"])
    found: dict[str, tuple[Item, list[Any], list[Said]]] = {}
    for number, line in enumerate(lines[:-1]):
        item, said = _scored_line(benchmark, line, number)
        try:
            scores = {mode: score_of(line.get("modes", {mode: line})[mode]) for mode in modes}
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{file}:{number + 1}: the line has no verdict: {error}") from error
        name = json.dumps([item.id, item.answer, item.choices], default=str)
        _, samples, texts = found.setdefault(name, (item, [], []))
        samples.append(scores)
        texts.append(said)
    items = tuple(
        FinishedItem(result=ItemResult(item=item, samples=tuple(samples)), said=tuple(texts))
        for item, samples, texts in found.values()
    )
    task = FinishedTask(
        benchmark=benchmark, version=str(summary.get("version", "")), modes=modes, items=items
    )
    results = {"results": {benchmark.name: summary}}
    return Finished(path=file, tasks={benchmark.name: task}, described=results)


def _scored_line(benchmark: Benchmark, line: Mapping[str, Any], number: int) -> tuple[Item, Said]:
    """Return the item and the response of a line; a line that is no item stands for itself."""
    fields = {key: value for key, value in line.items() if key not in _VERDICT}
    try:
        fields, response = split_line(fields)
        item = benchmark.item(fields)
        said = Said(text=response.text, stop=response.stop, extraction=response.extraction)
    except (KeyError, TypeError, ValueError, AttributeError):
        item, said = read_item(benchmark, fields), Said(text=None)
    if not item.id:
        item = dataclasses.replace(item, id=f"#{number}")
    return item, said


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a file of a run holds.

    Raises:
        RunError: it is no JSON object.
    """
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: a {type(value).__name__} where a JSON object should stand")
    return value


def describe(found: Finished) -> dict[str, Any]:
    """Return the settings of a run that may differ from another's, one value per dotted name."""
    engine = found.described.get("engine", {})
    facts: dict[str, Any] = {
        "model": found.described.get("model"),
        "samples": found.described.get("samples"),
        **{f"engine.{key}": engine.get(key) for key in ("name", "version", "weights")},
        "engine.coordinates": engine.get("coordinates"),
        **{f"engine.{key}": value for key, value in (engine.get("settings") or {}).items()},
    }
    for name in found.tasks:
        task = found.described.get("tasks", {}).get(name, {})
        facts |= {f"{name}.{key}": task.get(key) for key in ("data", "split")}
        for part in ("sampling", "media"):
            facts |= {f"{name}.{key}": value for key, value in (task.get(part) or {}).items()}
    return {key: value for key, value in facts.items() if value is not None}
