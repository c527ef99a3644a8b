"""Read rows from JSONL, parquet or a `datasets.Dataset`. Media stay undecoded.

`iter_rows` reads one row at a time; `load_rows` reads a file as a whole before anything is
reported, so that all of its mistakes are repaired in one go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.data.records import read_jsonl, read_parquet
from mmrl.data.row_format import parse_row, without_nulls
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
    return _sifted(iter_rows(path, outside=outside), limit)


def iter_rows(path: str | Path, *, outside: bool = False) -> Iterator[Row | DataError]:
    """Yield the rows of a file one at a time, and an error for each that cannot be used.

    Args:
        path: A .jsonl or .parquet file; relative media paths in it start at its folder.
        outside: Allow relative media paths that leave that folder.

    Raises:
        DataError: the file is not there, or of another kind.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], Iterator[tuple[str, Any]]]] = {
        ".jsonl": read_jsonl,
        ".parquet": read_parquet,
    }
    if path.suffix not in readers:
        raise DataError(f"{path}: rows are read from .jsonl and .parquet files only")
    if not path.is_file():
        raise DataError(
            f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give a file of rows"
        )
    return sift_records(readers[path.suffix](path), path.parent, outside=outside)


def rows_from_dataset(
    dataset: datasets.Dataset | datasets.IterableDataset,
    *,
    folder: str | Path = ".",
    name: str = "dataset",
    outside: bool = False,
) -> list[Row]:
    """Read the rows of a data set whose columns are the keys of a row, without decoding its media.

    Args:
        dataset: Features of type Image, Audio and Video are taken as their encoded bytes or paths;
            a streaming data set is read to its end.
        folder: Where relative media paths start.
        name: What the dataset is called in messages.
        outside: Allow relative media paths that leave the folder.

    Raises:
        DataError: as `load_rows`.
    """
    return parse_rows(
        records_of_dataset(dataset, name), folder=Path(folder), name=name, outside=outside
    )


def records_of_dataset(
    dataset: datasets.Dataset | datasets.IterableDataset, name: str
) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a data set as they are, with their places `name[0]`, `name[1]`."""
    batches = dataset.with_format("arrow").iter(batch_size=64)
    raws = (raw for batch in batches for raw in batch.to_pylist())  # pyright: ignore[reportAttributeAccessIssue]
    return ((f"{name}[{index}]", _plain(raw)) for index, raw in enumerate(raws))


def _plain(raw: dict[str, Any]) -> dict[str, Any]:
    """Read the columns that the column `json_columns` names; leave out what Arrow filled in."""
    as_json = raw.pop("json_columns", None) or ()
    loose = {key: json.loads(raw[key]) for key in as_json if raw.get(key) is not None}
    return without_nulls(raw) | loose


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
    rows, errors = _sifted(sift_records(raws, folder, outside=outside), None)
    return _whole(rows, errors, name)


def sift_records(
    raws: Iterable[tuple[str, Any]], folder: Path, *, outside: bool = False
) -> Iterator[Row | DataError]:
    """Yield each record as a row, or the error that says why it is none; ids are unique.

    Args:
        raws: Place and JSON object; a DataError instead of the object is passed on.
        folder: Where relative media paths start.
        outside: Allow relative media paths that leave the folder.
    """
    places: dict[str, str] = {}
    for where, raw in raws:
        try:
            if isinstance(raw, DataError):
                raise raw
            row = parse_row(raw, where=where, folder=folder, outside=outside)
            if row.id in places:
                taken = f"the id is taken by {places[row.id]}; ids are unique"
                raise DataError(f"{where}: row {row.id}: {taken}")
        except DataError as error:
            yield error
            continue
        places[row.id] = where
        yield row


def _sifted(
    found: Iterator[Row | DataError], limit: int | None
) -> tuple[list[Row], list[DataError]]:
    rows: list[Row] = []
    errors: list[DataError] = []
    for item in found:
        if isinstance(item, DataError):
            errors.append(item)
            continue
        rows.append(item)
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
