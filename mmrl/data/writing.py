"""Write rows to JSONL or parquet, one at a time; the file appears under its name when it is
complete.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmrl.errors import DataError
from mmrl.media.encoded import hash_medium, read_encoded, sniff
from mmrl.types import Medium, Row


def write_rows(rows: Iterable[Row], path: str | Path, *, embed: bool = False) -> int:
    """Write rows to a .jsonl or .parquet file; return how many.

    Media paths become relative to the file where they lie below its folder. Encoded bytes stay in a
    parquet file; beside a JSONL file they are written to `media/`, named by a hash of their
    content.

    Args:
        rows: What is written.
        path: The file.
        embed: Put the bytes of media files into the parquet file, so that it stands alone.

    Raises:
        DataError: the suffix is neither, or a medium to embed cannot be read.
    """
    path = Path(path)
    if path.suffix not in (".jsonl", ".parquet"):
        raise DataError(f"{path}: rows are written to .jsonl and .parquet files only")
    if embed and path.suffix != ".parquet":
        raise DataError(f"{path}: only a .parquet file can hold media")
    whole = map(_embedded, rows) if embed else rows
    raws = (row_to_json(row, path.parent) for row in whole)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.suffix == ".parquet":
            from mmrl.data.parquet import write_parquet

            count = write_parquet(raws, unfinished)
        else:
            count = write_jsonl(raws, unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def row_to_json(row: Row, folder: Path) -> dict[str, Any]:
    """Return a row as its JSON object, with media paths relative to the folder where they lie in
    it; encoded bytes stay bytes.
    """
    extra = dict(row.extra)
    coordinates = extra.pop("coordinates", None)
    terms = [
        {"name": term.name, "params": dict(term.params), "weight": term.weight}
        for term in row.verifier
    ]
    raw = {
        "id": row.id,
        "source": row.source,
        "prompt": [
            {
                "role": message["role"],
                "content": [_part_to_json(part, folder) for part in message["content"]],
            }
            for message in row.prompt
        ],
        "answer": row.answer,
        "verifier": terms,
        "reward": dict(row.reward),
        "difficulty": row.difficulty,
        "response": row.response,
        "extra": extra,
    }
    return raw if coordinates is None else {**raw, "coordinates": coordinates}


def _embedded(row: Row) -> Row:
    """Replace the paths of media by their bytes."""

    def part_of(part: Mapping[str, Any]) -> Mapping[str, Any]:
        kind = part["type"]
        if kind == "text":
            return part
        medium = part[kind]
        return {"type": kind, kind: Medium(kind=kind, source=read_encoded(medium, row.id))}

    prompt = tuple(
        {"role": message["role"], "content": [part_of(part) for part in message["content"]]}
        for message in row.prompt
    )
    return dataclasses.replace(row, prompt=prompt)


def _part_to_json(part: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    kind = part["type"]
    if kind == "text":
        return dict(part)
    source = part[kind].source
    if isinstance(source, Path):
        below = source.absolute().is_relative_to(folder.absolute())
        source = source.absolute().relative_to(folder.absolute()) if below else source.absolute()
        return {"type": kind, kind: source.as_posix()}
    return {"type": kind, kind: source}


def json_line(value: Mapping[str, Any]) -> str:
    """Return an object as one line of JSON, which ends it."""
    return f"{json.dumps(value, ensure_ascii=False, allow_nan=False)}\n"


def write_jsonl(raws: Iterable[dict[str, Any]], path: Path) -> int:
    """Write JSON objects of rows; media that are bytes become files beside them."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for raw in raws:
            file.write(json_line(_without_bytes(raw, path.parent)))
            count += 1
    return count


def _without_bytes(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Move encoded bytes into files."""
    for message in raw["prompt"]:
        for part in message["content"]:
            kind = part["type"]
            if isinstance(part[kind], bytes):
                part[kind] = write_medium(Medium(kind=kind, source=part[kind]), folder)
    return raw


def write_medium(medium: Medium, folder: Path) -> str:
    """Write encoded bytes to `media/` in the folder, named by their hash; return the path in it."""
    assert isinstance(medium.source, bytes)
    found = sniff(medium.source[:512])
    suffix = _SUFFIXES.get(found.name, found.name.lower()) if found else "bin"
    relative = f"media/{hash_medium(medium)}.{suffix}"
    (folder / "media").mkdir(exist_ok=True)
    if not (folder / relative).exists():
        (folder / relative).write_bytes(medium.source)
    return relative


_SUFFIXES = {"JPEG": "jpg", "mov": "mp4", "matroska": "mkv", "mpeg": "mpg", "mpegts": "ts"}
