"""Write rows to parquet without holding them all.

A column of parquet has one type. `answer`, `verifier`, `reward` and `extra` may be of other types
in other rows: such a column stays as it is where Arrow gives back exactly its values, else it is
JSON text, which the file's metadata say. That is only known at the end, so rows are spooled first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmrl.data.records import JSON_COLUMNS
from mmrl.data.row_format import KINDS, without_nulls
from mmrl.errors import DataError

_LOOSE = ("answer", "verifier", "reward", "extra")
_KEYS = ("id", "source", "prompt", *_LOOSE, "difficulty", "response", "coordinates")
_ROWS = 256
_BYTES = 64 << 20
"""Rows and bytes of media that are held at a time."""


def write_parquet(raws: Iterable[dict[str, Any]], path: Path) -> int:
    """Write JSON objects of rows, whose media may be bytes; return how many.

    Raises:
        DataError: parquet cannot hold them.
    """
    import pyarrow
    from pyarrow import parquet

    spool = path.with_name(f"{path.name}.spool")
    types: dict[str, Any] = dict.fromkeys(_LOOSE, pyarrow.null())
    used: set[str] = set()
    count = 0
    try:
        with parquet.ParquetWriter(spool, _schema({})) as writer:
            for chunk in _chunks(raws):
                used |= {key for raw in chunk for key in raw}
                for key in _LOOSE:
                    types[key] = _common(types[key], [raw.get(key) for raw in chunk])
                writer.write_table(_table(chunk, _schema({})))
                count += len(chunk)
        plain = {key: kind for key, kind in types.items() if kind is not None}
        _respool(spool, path, plain, [key for key in _KEYS if key in used])
    except (pyarrow.ArrowException, TypeError, OverflowError) as error:
        reason = str(error).split("\n", 1)[0]
        raise DataError(f"parquet cannot hold these rows ({reason}); write .jsonl") from error
    finally:
        spool.unlink(missing_ok=True)
    return count


def _respool(spool: Path, path: Path, plain: dict[str, Any], keys: list[str]) -> None:
    """Write the spooled rows again, columns of one type as what they are."""
    import pyarrow
    from pyarrow import parquet

    as_json = [key for key in _LOOSE if key not in plain and key in keys]
    schema = _schema(plain)
    schema = pyarrow.schema(
        [schema.field(key) for key in keys], metadata={JSON_COLUMNS: json.dumps(as_json)}
    )
    with parquet.ParquetFile(spool) as file, parquet.ParquetWriter(path, schema) as writer:
        for index in range(file.num_row_groups):
            table = file.read_row_group(index, columns=keys)
            columns = {name: table.column(name) for name in keys}
            for key in plain.keys() & columns.keys():
                texts = columns[key].to_pylist()
                values = [None if text is None else json.loads(text) for text in texts]
                columns[key] = pyarrow.chunked_array([pyarrow.array(values, type=plain[key])])
            writer.write_table(pyarrow.table(columns, schema=schema))


def _chunks(raws: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    held = 0
    for raw in raws:
        chunk.append(_to_arrow(raw))
        held += _size(raw)
        if len(chunk) == _ROWS or held > _BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _size(raw: dict[str, Any]) -> int:
    parts = (part for message in raw["prompt"] for part in message["content"])
    return sum(len(part[part["type"]]) for part in parts)


def _common(kind: Any, values: list[Any]) -> Any:
    """Return the type that holds these values too and gives back exactly them; else None."""
    import pyarrow

    if kind is None:
        return None
    try:
        array = pyarrow.array(values)
        fields = [pyarrow.schema([("it", found)]) for found in (kind, array.type)]
        both = pyarrow.unify_schemas(fields).field("it").type
        back = pyarrow.array(values, type=both).to_pylist()
    except (pyarrow.ArrowException, OverflowError):
        return None
    return both if json.dumps(without_nulls(back)) == json.dumps(values) else None


def _schema(plain: dict[str, Any]) -> Any:
    """Return the columns; those of `_LOOSE` are JSON text unless their type is given."""
    import pyarrow as pa

    medium = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    part = pa.struct(
        [("type", pa.string()), ("text", pa.string()), *((kind, medium) for kind in KINDS)]
    )
    message = pa.struct([("role", pa.string()), ("content", pa.list_(part))])
    fixed = {"prompt": pa.list_(message), "difficulty": pa.float64()}
    return pa.schema([(key, plain.get(key, fixed.get(key, pa.string()))) for key in _KEYS])


def _table(chunk: list[dict[str, Any]], schema: Any) -> Any:
    import pyarrow

    columns = {key: [raw.get(key) for raw in chunk] for key in _KEYS}
    for key in _LOOSE:
        columns[key] = [
            None if key not in raw else json.dumps(raw[key], allow_nan=False) for raw in chunk
        ]
    return pyarrow.table(columns, schema=schema)


def _to_arrow(raw: dict[str, Any]) -> dict[str, Any]:
    """Leave out empty objects, for which parquet has no type; give parts one layout."""
    terms = [{key: value for key, value in term.items() if value != {}} for term in raw["verifier"]]
    prompt = [
        {"role": message["role"], "content": [_part_to_arrow(part) for part in message["content"]]}
        for message in raw["prompt"]
    ]
    full = {**raw, "verifier": terms, "prompt": prompt}
    return {key: value for key, value in full.items() if value != {} and value is not None}


def _part_to_arrow(part: dict[str, Any]) -> dict[str, Any]:
    kind = part["type"]
    if kind == "text":
        return part
    is_bytes = isinstance(part[kind], bytes)
    encoded, path = (part[kind], None) if is_bytes else (None, part[kind])
    return {"type": kind, kind: {"bytes": encoded, "path": path}}
