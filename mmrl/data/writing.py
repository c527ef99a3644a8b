"""Write rows to JSONL or parquet; the file appears under its name when it is complete."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmrl.data.row_format import without_nulls
from mmrl.errors import DataError
from mmrl.media.encoded import hash_medium, read_encoded, sniff
from mmrl.types import Medium, Row

JSON_COLUMNS = b"mmrl.json_columns"
"""Key of a parquet file's metadata: columns of JSON text, whose values Arrow would change."""

_LOOSE = ("answer", "verifier", "extra")
"""Keys whose values may be of other types in other rows."""


def write_rows(rows: Iterable[Row], path: str | Path, *, embed: bool = False) -> None:
    """Write rows to a .jsonl or .parquet file.

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
    writers = {".jsonl": _write_jsonl, ".parquet": _write_parquet}
    if path.suffix not in writers:
        raise DataError(f"{path}: rows are written to .jsonl and .parquet files only")
    if embed and path.suffix != ".parquet":
        raise DataError(f"{path}: only a .parquet file can hold media")
    whole = map(_embedded, rows) if embed else rows
    raws = [_to_json(row, path.parent) for row in whole]
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        writers[path.suffix](raws, unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


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


def _to_json(row: Row, folder: Path) -> dict[str, Any]:
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


def _write_jsonl(raws: list[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for raw in raws:
            file.write(
                json.dumps(_without_bytes(raw, path.parent), ensure_ascii=False, allow_nan=False)
            )
            file.write("\n")


def _without_bytes(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Move encoded bytes into files."""
    for message in raw["prompt"]:
        for part in message["content"]:
            kind = part["type"]
            if isinstance(part[kind], bytes):
                part[kind] = _write_medium(Medium(kind=kind, source=part[kind]), folder)
    return raw


def _write_medium(medium: Medium, folder: Path) -> str:
    assert isinstance(medium.source, bytes)
    found = sniff(medium.source[:512])
    suffix = _SUFFIXES.get(found.name, found.name.lower()) if found else "bin"
    relative = f"media/{hash_medium(medium)}.{suffix}"
    (folder / "media").mkdir(exist_ok=True)
    (folder / relative).write_bytes(medium.source)
    return relative


_SUFFIXES = {"JPEG": "jpg", "mov": "mp4", "matroska": "mkv", "mpeg": "mpg", "mpegts": "ts"}


def _write_parquet(raws: list[dict[str, Any]], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    raws = [_to_arrow(raw) for raw in raws]
    as_json = [key for key in _LOOSE if not _keeps([raw.get(key) for raw in raws])]
    for raw in raws:
        raw |= {key: json.dumps(raw[key], allow_nan=False) for key in as_json if key in raw}
    keys = dict.fromkeys(key for raw in raws for key in raw)
    try:
        table = pyarrow.table({key: [raw.get(key) for raw in raws] for key in keys})
    except pyarrow.ArrowException as error:
        reason = str(error).split("\n", 1)[0]
        raise DataError(f"parquet cannot hold these rows ({reason}); write .jsonl") from error
    table = table.replace_schema_metadata({JSON_COLUMNS: json.dumps(as_json)})
    parquet.write_table(table, path)


def _keeps(values: list[Any]) -> bool:
    """Tell whether an Arrow column, which has one type, gives back exactly these values."""
    import pyarrow

    try:
        back = pyarrow.array(values).to_pylist()
    except pyarrow.ArrowException:
        return False
    return json.dumps(without_nulls(back)) == json.dumps(values)


def _to_arrow(raw: dict[str, Any]) -> dict[str, Any]:
    """Leave out empty objects, for which parquet has no type; give parts one layout."""
    terms = [{key: value for key, value in term.items() if value != {}} for term in raw["verifier"]]
    prompt = [
        {"role": message["role"], "content": [_part_to_arrow(part) for part in message["content"]]}
        for message in raw["prompt"]
    ]
    full = {**raw, "verifier": terms, "prompt": prompt}
    return {key: value for key, value in full.items() if value != {}}


def _part_to_arrow(part: dict[str, Any]) -> dict[str, Any]:
    kind = part["type"]
    if kind == "text":
        return part
    is_bytes = isinstance(part[kind], bytes)
    encoded, path = (part[kind], None) if is_bytes else (None, part[kind])
    return {"type": kind, kind: {"bytes": encoded, "path": path}}
