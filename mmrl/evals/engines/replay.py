"""Answers from a file of stored responses: for scoring again, for other harnesses, for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.errors import DataError
from mmrl.evals.benchmark import Benchmark, Space
from mmrl.evals.engine import Answer, Engine, Request
from mmrl.evals.records import read_file
from mmrl.evals.scoring import split_line

BATCH = 256


def replay_engine(
    file: Path, benchmarks: Sequence[Benchmark], *, coordinates: Space | None = None
) -> Engine:
    """Return an engine that gives the responses of a file.

    A line names its item by `id`, or by the field that the benchmark itself reads the id from; it
    may have `task`, `sample` (by default its place among the item's lines), `stop`, `extraction`.

    Raises:
        DataError: the file is not there, cannot be read, or holds a sample twice.
    """
    if not file.is_file():
        raise DataError(f"responses: {file}: no such file")
    answers: dict[tuple[str, str, int], Answer] = {}
    counts: dict[tuple[str, str], int] = {}
    for number, line in enumerate(read_file(file), start=1):
        for task, item_id in _names(line, benchmarks):
            place = counts.get((task, item_id), 0)
            counts[task, item_id] = place + 1
            sample = line.get("sample", place)
            if (task, item_id, sample) in answers:
                raise DataError(
                    f"{file}:{number}: sample {sample} of {item_id!r} stands there twice"
                )
            answers[task, item_id, sample] = _answer(line)

    def answer(requests: Sequence[Request]) -> Iterator[tuple[Request, Answer]]:
        for request in requests:
            known = answers.get((request.task, request.item.id, request.sample))
            reason = f"{file} has no sample {request.sample} of {request.item.id!r}"
            yield request, known or Answer(error=reason)

    return Engine(
        name="replay",
        version="1",
        weights=hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest(),
        settings={"responses": file.name},
        answer=answer,
        batch=BATCH,
        coordinates=coordinates,
        needs_media=False,
    )


def _names(line: Mapping[str, Any], benchmarks: Sequence[Benchmark]) -> Iterator[tuple[str, str]]:
    """Yield the task and the item's id that a line is for; without `task` it is for each task that
    can read it.
    """
    for benchmark in benchmarks:
        if line.get("task", benchmark.name) != benchmark.name:
            continue
        # a line that names task and id is of mmrl's own kind; others hold the record's fields
        given = str(line.get("id", ""))
        own = given if given and "task" in line else _own_id(line, benchmark) or given
        if own:
            yield benchmark.name, own


def _own_id(line: Mapping[str, Any], benchmark: Benchmark) -> str:
    try:
        return benchmark.item(line).id
    except (KeyError, TypeError, ValueError, AttributeError):
        return ""


def _answer(line: Mapping[str, Any]) -> Answer:
    try:
        _, response = split_line(line)
    except ValueError as error:
        return Answer(error=str(error))
    return Answer(
        text=response.text,
        stop=response.stop,
        sizes=response.sizes,
        extraction=response.extraction,
    )
