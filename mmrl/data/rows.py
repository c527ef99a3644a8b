"""Read rows from JSONL, parquet or a `datasets.Dataset`, and write them. Media stay undecoded.

A file is read as a whole before anything is reported, so that all of its mistakes are repaired in
one go.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.data.row_format import parse_row
from mmrl.errors import DataError
from mmrl.media.encoded import hash_medium, sniff
from mmrl.types import Medium, Row

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
    is_arrow = path.suffix == ".parquet"
    return _sift(readers[path.suffix](path), path.parent, limit, outside, is_arrow)


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
    numbered = ((f"{name}[{index}]", raw) for index, raw in enumerate(raws))
    return parse_rows(
        numbered, folder=Path(folder), name=name, outside=outside, nulls_are_absent=True
    )


def parse_rows(
    raws: Iterable[tuple[str, Any]],
    *,
    folder: Path,
    name: str,
    outside: bool = False,
    nulls_are_absent: bool = False,
) -> list[Row]:
    """Parse rows that come with their place, and report all mistakes at once.

    Args:
        raws: Place and JSON object; a DataError instead of the object is reported with the others.
        folder: Where relative media paths start.
        name: What the whole is called in messages.
        outside: Allow relative media paths that leave the folder.
        nulls_are_absent: The objects come from Arrow.

    Raises:
        DataError: one line per mistake, the first MAX_REPORTED of them; or there is no row.
    """
    rows, errors = _sift(raws, folder, None, outside, nulls_are_absent)
    return _whole(rows, errors, name)


def write_rows(rows: Iterable[Row], path: str | Path) -> None:
    """Write rows to a .jsonl or .parquet file; media paths become relative to it where they lie
    below its folder.

    The file appears under its name when it is complete. Encoded bytes stay in a parquet file;
    beside a JSONL file they are written to `media/`, under the hash of their content.

    Raises:
        DataError: the suffix is neither, or parquet cannot hold answers or parameters of such
            different types.
    """
    path = Path(path)
    writers = {".jsonl": _write_jsonl, ".parquet": _write_parquet}
    if path.suffix not in writers:
        raise DataError(f"{path}: rows are written to .jsonl and .parquet files only")
    raws = [_to_json(row, path.parent) for row in rows]
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        writers[path.suffix](raws, unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _sift(
    raws: Iterable[tuple[str, Any]], folder: Path, limit: int | None, outside: bool, is_arrow: bool
) -> tuple[list[Row], list[DataError]]:
    rows: list[Row] = []
    places: dict[str, str] = {}
    errors: list[DataError] = []
    for where, raw in raws:
        try:
            if isinstance(raw, DataError):
                raise raw
            row = parse_row(
                raw, where=where, folder=folder, outside=outside, nulls_are_absent=is_arrow
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
            for batch in file.iter_batches(batch_size=256):
                for raw in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", raw
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).split("\n", 1)[0]
        yield f"{path}:{number + 1}", DataError(f"{path}: not a readable parquet file: {reason}")


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
    try:
        parquet.write_table(pyarrow.Table.from_pylist(raws), path)
    except pyarrow.ArrowException as error:
        reason = str(error).split("\n", 1)[0]
        raise DataError(
            f"{path}: parquet cannot hold these rows ({reason}); write .jsonl"
        ) from error


def _to_arrow(raw: dict[str, Any]) -> dict[str, Any]:
    """Leave out empty objects, for which parquet has no type; give parts one layout."""
    terms = [{key: value for key, value in term.items() if value != {}} for term in raw["verifier"]]
    prompt = [
        {"role": message["role"], "content": [_part_to_arrow(part) for part in message["content"]]}
        for message in raw["prompt"]
    ]
    return {
        key: value
        for key, value in {**raw, "verifier": terms, "prompt": prompt}.items()
        if value != {}
    }


def _part_to_arrow(part: dict[str, Any]) -> dict[str, Any]:
    kind = part["type"]
    if kind == "text":
        return part
    is_bytes = isinstance(part[kind], bytes)
    encoded, path = (part[kind], None) if is_bytes else (None, part[kind])
    return {"type": kind, kind: {"bytes": encoded, "path": path}}
