"""Write converted records: rows to .jsonl, .parquet or a saved data set; other formats to their
files. A file appears under its name when it is complete.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.data.engines import quiet_bars
from mmrl.data.format import KEPT, Format, Record
from mmrl.data.parquet import write_parquet
from mmrl.data.writing import json_line, write_jsonl
from mmrl.errors import ConfigError, DataError

if TYPE_CHECKING:
    import datasets

_ROWS = 256
_BYTES = 64 << 20


def check_out(out: Path, target: Format | None) -> None:
    """Check that a format can be written to a file of that name; None stands for rows.

    Raises:
        ConfigError: it cannot.
        DataError: something is there already.
    """
    fits = target.suffixes if target else (".jsonl", ".parquet", "")
    if out.suffix not in fits or (out.suffix == ".parquet" and target and not target.schema):
        shown = " or ".join(end or "a folder, for a saved data set" for end in fits)
        raise ConfigError(f"out: {out}: {target.name if target else 'rows'} are written to {shown}")
    if out.exists():
        raise DataError(f"out: {out} is there already; remove it or choose another name")


def write_output(records: Iterable[Record], out: Path, target: Format | None) -> int:
    """Write records of a format, or rows as JSON objects; return how many. None make no file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        if target is None and not out.suffix:
            count = _save(records, unfinished)
        elif target is None:
            write = write_parquet if out.suffix == ".parquet" else write_jsonl
            count = write(iter(records), unfinished)
        else:
            writers = {".parquet": _parquet, ".json": _json, ".jsonl": _jsonl}
            count = writers.get(out.suffix, _table)(records, unfinished, target)
        if unfinished.is_file():
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
        if count:
            unfinished.replace(out)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        unfinished.unlink(missing_ok=True)
    return count


def dataset_from_rows(path: str | Path, *, cache: str | Path | None = None) -> datasets.Dataset:
    """Return the rows of a .parquet file as a data set, with its media as encoded bytes or paths.

    A column whose values are of several types is JSON text; the column `json_columns` names those,
    so that `rows_from_dataset` reads the same rows.

    Args:
        path: The file.
        cache: Where `datasets` keeps its copy; its own cache if not given.
    """
    import datasets
    from pyarrow import parquet

    from mmrl.data.records import JSON_COLUMNS

    metadata = parquet.read_schema(path).metadata or {}
    as_json = json.loads(metadata.get(JSON_COLUMNS, b"[]"))
    place: dict[str, Any] = {"cache_dir": str(cache)} if cache else {}
    loaded: Any = datasets.Dataset.from_parquet(str(path), **place)
    if not as_json:
        return loaded
    return loaded.add_column("json_columns", [as_json] * len(loaded))


def _save(records: Iterable[Record], folder: Path) -> int:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as temporary:
        spool = Path(temporary) / "rows.parquet"
        count = write_parquet(records, spool)
        if count:
            with quiet_bars():
                dataset_from_rows(spool, cache=temporary).save_to_disk(str(folder))
    return count


def _jsonl(records: Iterable[Record], path: Path, target: Format) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json_line(record))
            count += 1
    return count


def _json(records: Iterable[Record], path: Path, target: Format) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("[")
        for record in records:
            file.write("\n" if count == 0 else ",\n")
            file.write(json_line(record).rstrip("\n"))
            count += 1
        file.write("\n]\n")
    return count


def _parquet(records: Iterable[Record], path: Path, target: Format) -> int:
    import pyarrow
    from pyarrow import parquet

    assert target.schema is not None  # check_out sees to it
    schema = target.schema().append(pyarrow.field(KEPT, pyarrow.string()))
    count = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for batch in _batches(records):
            columns = {name: [record.get(name) for record in batch] for name in schema.names}
            try:
                writer.write_table(pyarrow.table(columns, schema=schema))
            except pyarrow.ArrowException as error:
                reason = str(error).split("\n", 1)[0]
                raise DataError(f"out: {target.name} cannot hold these rows: {reason}") from error
            count += len(batch)
    return count


def _table(records: Iterable[Record], path: Path, target: Format) -> int:
    """Write a table; several media stand in one cell with `;` between them."""
    assert target.schema is not None  # a table has columns
    columns = [*target.schema().names, KEPT]
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        # Its own line ends, \r\n, make it quote fields that hold either of the two.
        writer = csv.writer(file)
        writer.writerow(columns)
        for record in records:
            cells = (record.get(name, "") for name in columns)
            writer.writerow([";".join(cell) if isinstance(cell, list) else cell for cell in cells])
            count += 1
    return count


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Yield records some at a time, fewer where they hold large media."""
    batch: list[Record] = []
    held = 0
    for record in records:
        batch.append(record)
        lists = (value for value in record.values() if isinstance(value, list))
        items = (item for value in lists for item in value if isinstance(item, dict))
        held += sum(len(item.get("bytes") or b"") for item in items)
        if len(batch) == _ROWS or held > _BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
