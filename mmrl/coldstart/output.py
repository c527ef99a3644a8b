"""What a chain leaves behind: rows, the rows that were left out and why, and a manifest.

cold.jsonl           rows with their response
cold.rl.jsonl        rows that a step sent there
cold.rejected.jsonl  one line per row that was left out: id, step, reason
cold.manifest.json   what went in, what came out, what it took
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.coldstart.chain import Result
from mmrl.coldstart.config import PASS_RATE, RESPONSE, SplitByDifficultyStep
from mmrl.coldstart.loading import Chain
from mmrl.coldstart.state import Rejected, State
from mmrl.data.writing import write_rows
from mmrl.errors import DataError
from mmrl.types import Row


def beside(out: Path, name: str, suffix: str = ".jsonl") -> Path:
    """Return the file beside `out` of that name: cold.jsonl -> cold.rejected.jsonl."""
    return out.with_name(f"{out.stem}.{name}{suffix}")


def check_out(out: Path, chain: Chain, source: Path) -> None:
    """Refuse to write over a file that the same chain did not make of the same rows.

    Raises:
        DataError: there is one.
    """
    wanted = _decisive(_chain_of(chain))
    check_free(out, source, lambda manifest: _decisive(manifest["chain"]) == wanted)


def check_free(out: Path, source: Path, same: Callable[[dict[str, Any]], bool]) -> None:
    """Refuse to write over a file, unless its manifest says that it was made of the same rows.

    Args:
        out: The file.
        source: The rows.
        same: Tells from the manifest whether it was also made in the same way.

    Raises:
        DataError: the file is something else.
    """
    if out.suffix != ".jsonl":
        raise DataError(f"out: {out}: give a .jsonl file, for example out=picked.jsonl")
    if not out.exists():
        return
    if out.resolve() == source.resolve():
        raise DataError(f"out: {out} is the file that is read; choose another name")
    try:
        found = json.loads(beside(out, "manifest", ".json").read_text(encoding="utf-8"))
        mine = same(found) and found["in"]["hash"] == file_hash(source)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        mine = False
    if not mine:
        raise DataError(f"out: {out} is there already; remove it or choose another name")


def finished_row(state: State, chain: Chain) -> list[Row]:
    """Return the row with its response, as often as the chain wants it."""
    kept: dict[str, Any] = {"chain": chain.name}
    kept |= {
        name: texts[0] if len(texts := state.texts[name]) == 1 else list(texts)
        for name in chain.config.keep
    }
    if PASS_RATE in state.texts:
        kept[PASS_RATE] = float(state.text(PASS_RATE))
    row = dataclasses.replace(
        state.row,
        response=state.text(RESPONSE),
        difficulty=state.row.difficulty if state.difficulty is None else state.difficulty,
        extra={**state.row.extra, "cold_start": kept},
    )
    copies = [dataclasses.replace(row, id=f"{row.id}#{n}") for n in range(2, state.copies + 1)]
    return [row, *copies]


def write_result(
    result: Result, chain: Chain, *, source: Path, rows: int, out: Path, seconds: float
) -> dict[str, Any]:
    """Write all files and return the manifest; `out` comes last but for the manifest."""
    by_split: dict[str, list[Row]] = {"": []}
    for step in chain.steps.values():
        if isinstance(step, SplitByDifficultyStep):
            by_split[step.hard] = []
    for state in result.done:
        by_split[state.split].extend(finished_row(state, chain))
    files = {split: beside(out, split) if split else out for split in by_split}
    rejected = beside(out, "rejected")
    write_lines(rejected, rejected_lines(result))
    for split in sorted(by_split, reverse=True):
        write_rows(by_split[split], files[split])
    manifest = {
        "chain": _chain_of(chain),
        "in": {"file": source.name, "rows": rows, "hash": file_hash(source)},
        "out": {
            file.name: {"rows": len(by_split[split]), "hash": file_hash(file)}
            for split, file in sorted(files.items())
        },
        "rejected": dict(Counter(one.step for one in result.rejected)),
        "unanswered": sum(not one.answered for one in result.rejected),
        "teachers": {name: dataclasses.asdict(count) for name, count in result.counts.items()},
        "seconds": round(seconds, 1),
    }
    write_text(beside(out, "manifest", ".json"), json.dumps(manifest, indent=2) + "\n")
    return manifest


def rejected_lines(result: Result) -> list[dict[str, Any]]:
    """Return one line per row that was left out: id, step, reason, and the texts so far."""
    return [_rejected_line(one) for one in result.rejected]


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write JSON lines; the file appears when it is whole."""
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def write_text(path: Path, text: str) -> None:
    """Write a file that appears when it is whole."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _rejected_line(one: Rejected) -> dict[str, Any]:
    row_texts = ("question", "source")
    texts = {
        name: texts[0] if len(texts) == 1 else list(texts)
        for name, texts in one.state.texts.items()
        if name not in row_texts
    }
    return {
        "id": one.state.row.id,
        "source": one.state.row.source,
        "where": one.state.row.where,
        "step": one.step,
        "reason": one.reason,
        "answered": one.answered,
        "texts": texts,
    }


def _chain_of(chain: Chain) -> dict[str, Any]:
    """Return the chain as JSON gives it back."""
    return json.loads(json.dumps({"name": chain.name, **chain.values}, default=str))


def _decisive(chain: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides what the chain writes: not how its teachers are reached."""
    return {key: chain.get(key) for key in ("name", "steps", "given", "keep", "seed")}


def file_hash(path: Path) -> str:
    """Return the BLAKE2b hash (32 hexadecimal digits) of a file."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
