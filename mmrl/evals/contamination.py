"""How much of a benchmark stands in the training data, and what the score is without it.

Every row of the training files is looked up among the items of a run: its media (the same bytes, or
a picture that looks the same) and its words (a run of 13, or a short question as a whole). The
scores are then computed again without the items that were found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrl.data.rows import iter_rows
from mmrl.errors import ConfigError, DataError, RunError
from mmrl.evals.benchmark import Benchmark
from mmrl.evals.contamination_media import MediaIndex
from mmrl.evals.contamination_text import Owner, TextIndex
from mmrl.evals.finished import Finished, FinishedItem, FinishedTask
from mmrl.evals.questions import read_questions
from mmrl.evals.scoring import ItemResult
from mmrl.evals.stats import RESAMPLES
from mmrl.evals.summary import DIGITS, mean_value, measure
from mmrl.progress import progress
from mmrl.types import Row

KINDS = ("medium", "look", "words", "question")
BOTH, ANY = "both", "any"
"""`both` is a medium and words in one row of training data; `any` is any kind."""

_KEPT = 20
"""Rows per item that are remembered in which both a medium and words were found."""


@dataclass(kw_only=True, slots=True)
class _Search:
    texts: TextIndex = field(default_factory=TextIndex)
    media: MediaIndex = field(default_factory=MediaIndex)
    shown: dict[Owner, dict[str, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    """The rows in which an item's media were found, by kind."""
    both: dict[Owner, list[tuple[str, frozenset[str]]]] = field(
        default_factory=lambda: defaultdict(list)
    )


def find_contamination(
    run: Finished,
    train: Sequence[Path],
    *,
    data: Mapping[str, str] | None = None,
    media: bool = True,
    by: str | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Return what of a run's items stands in training files, and the scores without it, as JSON.

    Args:
        run: The evaluation.
        train: Files of rows.
        data: Where the items of a task lie, if not where the run found them.
        media: Compare media, too.
        by: The group key to break down by; `source` where a benchmark has it, if not given.
        resamples: Draws of the intervals.

    Raises:
        DataError: data, a row or a medium cannot be read.
        RunError: the data do not hold the items of the run.
    """
    search = _Search()
    for task in run.tasks.values():
        _index_texts(task, search)
        if media:
            _index_media(run, task, search, (data or {}).get(task.benchmark.name))
    files = [_search_file(path, search, media) for path in train]
    found = _hits(search)
    return {
        "run": str(run.path),
        "train": files,
        "media_compared": media,
        "formulas": search.texts.formulas(),
        "tasks": {
            name: _task(task, found, _group_key(task.benchmark, by), resamples)
            for name, task in run.tasks.items()
        },
    }


def _index_texts(task: FinishedTask, search: _Search) -> None:
    for item in task.items:
        search.texts.add(question_of(item), (task.benchmark.name, item.result.item.id))


def question_of(item: FinishedItem) -> str:
    """Return an item's own question, without what the prompt adds; the prompt where the record has
    no question.
    """
    own = item.result.item.fields.get("question")
    if isinstance(own, str):
        return own
    parts = [part for message in item.prompt for part in message["content"]]
    return "\n".join(part["text"] for part in parts if part["type"] == "text")


def _index_media(run: Finished, task: FinishedTask, search: _Search, data: str | None) -> None:
    """Read the benchmark's data again, as run folders keep no media."""
    name = task.benchmark.name
    described = run.described.get("tasks", {}).get(name, {})
    source = data or described.get("data")
    if not source:
        raise ConfigError(
            f"data: {run.path} does not say where the media of {name} lie; give data=PATH, or "
            "compare texts alone, media=false"
        )
    split = task.benchmark.split(described.get("split"))
    wanted = {item.result.item.id for item in task.items}
    for question in read_questions(task.benchmark, source, split):
        if question.item.id not in wanted:
            continue
        wanted.remove(question.item.id)
        if question.row is None:
            raise DataError(f"{question.problem}; compare texts alone, media=false")
        for medium in question.row.media:
            search.media.add(medium, (name, question.item.id))
    if wanted:
        raise RunError(
            f"{name}: {source} does not hold {len(wanted)} items of the run, such as "
            f"{min(wanted)!r}; give the data that the run was made with, data=PATH"
        )


def _search_file(path: Path, search: _Search, media: bool) -> dict[str, Any]:
    count = shown = 0
    with progress(f"searching {path.name}", "rows") as report:
        for row in iter_rows(path, outside=True):
            if isinstance(row, DataError):
                raise row
            _search_row(row, search, media)
            count += 1
            shown += len(row.media)
            report(count, None)
    return {"file": str(path), "rows": count, "media": shown}


def _search_row(row: Row, search: _Search, media: bool) -> None:
    seen: dict[Owner, str] = {}
    for medium in row.media if media else ():
        for digest, kind in search.media.find(medium, row.id).items():
            for owner in search.media.owners[digest]:
                seen[owner] = min(kind, seen.get(owner, kind), key=KINDS.index)
    for owner, kind in seen.items():
        noted = search.shown[owner].setdefault(kind, {"row": row.id, "rows": 0})
        noted["rows"] += 1
    identity = tuple(
        hash(medium.source) if isinstance(medium.source, bytes) else str(medium.source)
        for medium in row.media
    )
    words = search.texts.find(list(_texts(row)), identity, row.id)
    for owner in seen:
        shared = frozenset(name for name in words if owner in search.texts.owners(name))
        if shared and len(search.both[owner]) < _KEPT:
            search.both[owner].append((row.id, shared))


def _texts(row: Row) -> Iterator[str]:
    for message in row.prompt:
        if message["role"] == "user":
            yield from (part["text"] for part in message["content"] if part["type"] == "text")


def _hits(search: _Search) -> dict[Owner, dict[str, dict[str, Any]]]:
    found: dict[Owner, dict[str, dict[str, Any]]] = defaultdict(dict)
    for owner, kinds in search.shown.items():
        found[owner].update(kinds)
    for owner, (kind, words, row, rows) in search.texts.hits().items():
        found[owner][kind] = {"row": row, "rows": rows, "words": words}
    for owner, candidates in search.both.items():
        for row, words in candidates:
            if not all(map(search.texts.is_formula, words)):
                found[owner].setdefault(BOTH, {"row": row})
    return found


def _group_key(benchmark: Benchmark, by: str | None) -> str | None:
    if by is not None and by not in benchmark.groups:
        known = ", ".join(benchmark.groups) or "none"
        raise ConfigError(f"by: {benchmark.name} has no group key {by!r}; it has: {known}")
    return by or ("source" if "source" in benchmark.groups else None)


def _task(
    task: FinishedTask,
    found: Mapping[Owner, Mapping[str, Any]],
    key: str | None,
    resamples: int,
) -> dict[str, Any]:
    name = task.benchmark.name
    results = [item.result for item in task.items]
    hits = {result.item.id: dict(found.get((name, result.item.id), {})) for result in results}
    hit_by = {
        kind: {one for one, kinds in hits.items() if (kinds if kind == ANY else kind in kinds)}
        for kind in (*KINDS, BOTH, ANY)
    }
    groups = {key: _by_group(task, results, hit_by[ANY], key)} if key else {}
    return {
        "n": len(results),
        "hits": {kind: len(ids) for kind, ids in hit_by.items()},
        "modes": {mode: _by_kind(task, results, hit_by, mode, resamples) for mode in task.modes},
        "groups": groups,
        "items": [{"id": one, "kinds": kinds} for one, kinds in hits.items() if kinds],
    }


def _by_kind(
    task: FinishedTask,
    results: Sequence[ItemResult],
    hit_by: Mapping[str, set[str]],
    mode: str,
    resamples: int,
) -> dict[str, Any]:
    """Return the scores of all items, of those that each kind found, and without these."""
    known: dict[frozenset[str], dict[str, Any] | None] = {}

    def score(part: Sequence[ItemResult]) -> dict[str, Any] | None:
        ids = frozenset(result.item.id for result in part)
        if ids not in known:
            known[ids] = _score(task.benchmark, part, mode, resamples)
        return known[ids]

    return {
        "all": score(results),
        "without": {kind: score(_part(results, ids, False)) for kind, ids in hit_by.items()},
        "on_hits": {kind: score(_part(results, ids, True)) for kind, ids in hit_by.items()},
    }


def _part(results: Sequence[ItemResult], ids: set[str], hit: bool) -> list[ItemResult]:
    return [result for result in results if (result.item.id in ids) is hit]


def _score(
    benchmark: Benchmark, results: Sequence[ItemResult], mode: str, resamples: int
) -> dict[str, Any] | None:
    """Return the headline number of some of the items; None where there are none."""
    if not results:
        return None
    _, interval, _ = measure(benchmark, results, mode, resamples)
    values = {key: round(getattr(interval, key), DIGITS) for key in ("value", "low", "high")}
    return {"n": len(results), **values}


def _by_group(
    task: FinishedTask, results: Sequence[ItemResult], hit: set[str], key: str
) -> dict[str, Any]:
    members: dict[str, list[ItemResult]] = defaultdict(list)
    for result in results:
        values = result.item.groups.get(key, ())
        for value in (values,) if isinstance(values, str) else values:
            members[value].append(result)
    return {
        value: {
            "n": len(members[value]),
            "hits": sum(result.item.id in hit for result in members[value]),
            "all": {mode: _mean(members[value], mode) for mode in task.modes},
            "without": {
                mode: _mean(_part(members[value], hit, False), mode) for mode in task.modes
            },
        }
        for value in sorted(members)
    }


def _mean(results: Sequence[ItemResult], mode: str) -> float | None:
    if not results:
        return None
    return round(sum(mean_value(result, mode) for result in results) / len(results), DIGITS)
