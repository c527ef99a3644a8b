"""Read rows from JSONL, parquet or a `datasets.Dataset`. Media stay undecoded.

A file is read as a whole before anything is reported, so that all of its mistakes are repaired in
one go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.data.row_format import parse_row, without_nulls
from mmrl.data.writing import JSON_COLUMNS
from mmrl.errors import DataError
from mmrl.types import Row

if TYPE_CHECKING:
    import datasets

MAX_REPORTED = 20
"""Mistakes of one file that are shown; the others are counted."""


def load_rows(path: str | Path, *, limit: int | None = None, outside: bool = False) -> list[Row]:
    """Read the rows of a .jsonl or .parquet file.

    Args:
        path: The file; relative media paths in it start at its folder.
        limit: Read only the first so many rows.
        outside: Allow relative media paths that leave that folder.

    Raises:
        DataError: one line per mistake, the first MAX_REPORTED of them.
    """
    rows, errors = sift_rows(path, limit=limit, outside=outside)
    return _whole(rows, errors, str(path))


def sift_rows(
    path: str | Path, *, limit: int | None = None, outside: bool = False
) -> tuple[list[Row], list[DataError]]:
    """Read as `load_rows` does; return the good rows, and one error per bad row.

    Raises:
        DataError: the file is not there, or of another kind.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], Iterator[tuple[str, Any]]]] = {
        ".jsonl": _read_jsonl,
        ".parquet": _read_parquet,
    }
    if path.suffix not in readers:
        raise DataError(f"{path}: rows are read from .jsonl and .parquet files only")
    if not path.is_file():
        raise DataError(
            f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give a file of rows"
        )
    return _sift(readers[path.suffix](path), path.parent, limit, outside)


def rows_from_dataset(
    dataset: datasets.Dataset,
    *,
    folder: str | Path = ".",
    name: str = "dataset",
    outside: bool = False,
) -> list[Row]:
    """Read the rows of a `datasets.Dataset` whose columns are the keys of a row, without decoding
    its media.

    Args:
        dataset: Features of type Image, Audio and Video are taken as their encoded bytes or paths.
        folder: Where relative media paths start.
        name: What the dataset is called in messages.
        outside: Allow relative media paths that leave the folder.

    Raises:
        DataError: as `load_rows`.
    """
    batches = dataset.with_format("arrow").iter(batch_size=256)
    raws = (raw for batch in batches for raw in batch.to_pylist())  # pyright: ignore[reportAttributeAccessIssue]
    numbered = ((f"{name}[{index}]", without_nulls(raw)) for index, raw in enumerate(raws))
    return parse_rows(numbered, folder=Path(folder), name=name, outside=outside)


def parse_rows(
    raws: Iterable[tuple[str, Any]],
    *,
    folder: Path,
    name: str,
    outside: bool = False,
) -> list[Row]:
    """Parse rows that come with their place, and report all mistakes at once.

    Args:
        raws: Place and JSON object; a DataError instead of the object is reported with the others.
        folder: Where relative media paths start.
        name: What the whole is called in messages.
        outside: Allow relative media paths that leave the folder.

    Raises:
        DataError: one line per mistake, the first MAX_REPORTED of them; or there is no row.
    """
    rows, errors = _sift(raws, folder, None, outside)
    return _whole(rows, errors, name)


def _sift(
    raws: Iterable[tuple[str, Any]], folder: Path, limit: int | None, outside: bool
) -> tuple[list[Row], list[DataError]]:
    rows: list[Row] = []
    places: dict[str, str] = {}
    errors: list[DataError] = []
    for where, raw in raws:
        try:
            if isinstance(raw, DataError):
                raise raw
            row = parse_row(
                raw,
                where=where,
                folder=folder,
                outside=outside,
            )
            if row.id in places:
                taken = f"the id is taken by {places[row.id]}; ids are unique"
                raise DataError(f"{where}: row {row.id}: {taken}")
        except DataError as error:
            errors.append(error)
            continue
        places[row.id] = where
        rows.append(row)
        if len(rows) == limit:
            break
    return rows, errors


def _whole(rows: list[Row], errors: list[DataError], name: str) -> list[Row]:
    if errors:
        hidden = len(errors) - MAX_REPORTED
        more = [f"{name}: {hidden} more rows are wrong"] if hidden > 0 else []
        raise DataError("\n".join([*map(str, errors[:MAX_REPORTED]), *more]))
    if not rows:
        raise DataError(f"{name}: holds no rows")
    return rows


def _read_jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}:{number}"
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield where, _parse_line(line, where)


def _parse_line(line: bytes, where: str) -> Any:
    """Return the object, or the DataError that reports it, so that reading goes on."""
    try:
        return json.loads(line.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_unique)
    except UnicodeDecodeError:
        return DataError(f"{where}: not UTF-8 text; save the file as UTF-8")
    except json.JSONDecodeError as error:
        return DataError(f"{where}: not JSON: {error.msg} at character {error.colno}")
    except (ValueError, RecursionError) as error:
        return DataError(f"{where}: not usable JSON: {error}")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key in found if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _read_parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            as_json = json.loads((file.schema_arrow.metadata or {}).get(JSON_COLUMNS, b"[]"))
            for batch in file.iter_batches(batch_size=256):
                for raw in batch.to_pylist():
                    number += 1
                    loose = {key: json.loads(raw[key]) for key in as_json if raw[key] is not None}
                    yield f"{path}:{number}", without_nulls(raw) | loose
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        yield f"{path}:{number + 1}", DataError(f"{path}: not a readable parquet file: {reason}")
