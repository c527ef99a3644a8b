"""Reads a benchmark's own files: JSONL, JSON, parquet, a folder that was downloaded from the hub,
or the hub itself. Records come as they are; media stay encoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.errors import DataError

if TYPE_CHECKING:
    from mmrl.evals.benchmark import Record, Split

KEY = "_key"
"""Where the key of a record goes that stands in an object of records, as `{"17": {...}}`."""


def read_records(source: Path | str, split: Split) -> Iterator[Record]:
    """Yield the records of a split, in the order of its files.

    Args:
        source: A file (.jsonl, .json, .parquet), a folder that holds the split's files, or the name
            of a data set on the Hugging Face hub.
        split: Which records, and where they lie.

    Raises:
        DataError: there is no such file, folder or data set, or it cannot be read.
    """
    path = Path(source)
    if path.is_file():
        return read_file(path)
    if path.is_dir():
        return (record for file in split_files(path, split) for record in read_file(file))
    if (
        isinstance(source, Path)
        or str(source).count("/") != 1
        or str(source).startswith((".", "/"))
    ):
        raise DataError(f"data: {source}: no such file or folder")
    return _from_hub(str(source), split)


def media_folder(source: Path | str) -> Path:
    """Return where the relative media paths of a source start."""
    path = Path(source)
    return path if path.is_dir() else path.parent if path.is_file() else Path()


def split_files(folder: Path, split: Split) -> list[Path]:
    """Return a split's files in a local copy: those that the split names, else the usual ones.

    Raises:
        DataError: there are none.
    """
    hub = split.hub or split.name
    usual = [f"{split.name}{suffix}" for suffix in (".jsonl", ".json", ".parquet")]
    usual += [f"{place}/{hub}-*.parquet" for place in (split.config, "data") if place]
    usual += [f"{hub}-*.parquet"]
    if split.files:
        found = [file for pattern in split.files for file in sorted(folder.glob(pattern))]
    else:
        found = next((files for name in usual if (files := sorted(folder.glob(name)))), [])
    if not found:
        wanted = ", ".join(split.files or usual)
        raise DataError(f"data: {folder} has none of the files of {split.name!r}: {wanted}")
    return list(dict.fromkeys(found))


def read_file(path: Path) -> Iterator[Record]:
    """Yield the records of one file.

    Raises:
        DataError: the file is of another kind, or one of its records is no JSON object.
    """
    readers = {".jsonl": _read_jsonl, ".json": _read_json, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise DataError(f"{path}: records are read from {', '.join(readers)} files only")
    return readers[path.suffix](path)


def parse_object(line: bytes | str, where: str) -> dict[str, Any]:
    """Return one JSON object.

    Raises:
        DataError: it is not UTF-8, not JSON or no object.
    """
    try:
        value = json.loads(line)
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON: {error.msg.removesuffix(' at')} at character {error.colno}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not usable JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: a {type(value).__name__} where a JSON object should stand")
    return value


def _read_jsonl(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if text.strip():
                yield parse_object(text, f"{path}:{number}")


def _read_json(path: Path) -> Iterator[Record]:
    try:
        whole = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    records: list[Any] = whole if isinstance(whole, list) else []
    if isinstance(whole, dict):
        records = [
            {KEY: key, **value} if isinstance(value, dict) else value
            for key, value in whole.items()
        ]
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise DataError(f"{path}: record {number} is a {type(record).__name__}, no JSON object")
        yield record


def _read_parquet(path: Path) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).split("\n", 1)[0]
        raise DataError(f"{path}: not a readable parquet file: {reason}") from error


def _from_hub(name: str, split: Split) -> Iterator[Record]:
    import datasets

    hub = split.hub or split.name
    try:
        loaded = datasets.load_dataset(name, split.config, split=hub)
    except Exception as error:  # the hub's client raises from every layer below it
        reason = str(error).strip().split("\n", 1)[0]
        raise DataError(
            f"data: cannot load {name} ({hub}) from the hub: {reason}; give a local copy's path"
        ) from error
    batches = loaded.with_format("arrow").iter(batch_size=64)  # pyright: ignore[reportAttributeAccessIssue]
    for batch in batches:
        yield from batch.to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
