"""Scores stored responses line by line: items and responses in, verdicts and numbers out, without a
model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mmrl.errors import DataError
from mmrl.evals.benchmark import Benchmark, Item, Score
from mmrl.evals.records import read_file
from mmrl.evals.scoring import (
    RESPONSE_KEYS,
    by_item,
    headline,
    judge_all,
    missing,
    score_fields,
    split_line,
)
from mmrl.evals.summary import summarise

STORED = "true_false"
"""The verdict that MathVista's own output files hold."""


def score_file(
    benchmark: Benchmark, file: Path, modes: tuple[str, ...], write: Callable[[dict[str, Any]], Any]
) -> dict[str, Any]:
    """Score every line of a file, hand each on with its verdict, and return the summary.

    Args:
        benchmark: Whose items and responses the lines hold.
        file: .jsonl, .json (a list, or an object of records) or .parquet.
        modes: The modes; the headline's verdict stands in the line itself, all of them under
            `modes` where there are several.
        write: Takes each line.

    Raises:
        DataError: the file is not there, or not JSON. A line that is no item is the status `error`.
        RunError: the file holds no line.
    """
    if not file.is_file():
        raise DataError(f"{file}: {'a folder, give one file' if file.is_dir() else 'no such file'}")
    scored: list[tuple[Item, Mapping[str, Score]]] = []
    agreed: dict[str, list[bool]] = {mode: [] for mode in modes}
    for number, (line, item, scores) in enumerate(_scored(benchmark, read_file(file), modes)):
        scored.append((item if item.id else dataclasses.replace(item, id=f"#{number}"), scores))
        for mode, score in scores.items():
            if isinstance(line.get(STORED), bool):
                agreed[mode].append(line[STORED] == score.correct)
        found = {**line, **score_fields(scores[headline(modes)])}
        if len(modes) > 1:
            found["modes"] = {mode: score_fields(score) for mode, score in scores.items()}
        write(found)
    summary = summarise(benchmark, by_item(scored), modes)
    for mode, verdicts in agreed.items():
        if verdicts:
            same = {"lines": len(verdicts), "same": sum(verdicts)}
            summary["modes"][mode]["stored_verdicts"] = same
    return summary


def _scored(
    benchmark: Benchmark, lines: Iterable[Mapping[str, Any]], modes: tuple[str, ...]
) -> Iterable[tuple[Mapping[str, Any], Item, dict[str, Score]]]:
    for line in lines:
        try:
            fields, response = split_line(line)
            item = benchmark.item(fields)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            yield line, read_item(benchmark, line), missing(modes, reason)
        else:
            yield line, item, judge_all(benchmark, item, response, modes)


def read_item(benchmark: Benchmark, line: Mapping[str, Any]) -> Item:
    """Return the item of a line whose response cannot be used; one without an id where the line
    holds no item either.
    """
    try:
        return benchmark.item({key: v for key, v in line.items() if key not in RESPONSE_KEYS})
    except (KeyError, TypeError, ValueError, AttributeError):
        return Item(id="", answer=None)
