"""Records of any data file, one at a time: .jsonl, .json, .parquet, .csv and .tsv.

A record that cannot be read is reported in its place and reading goes on, and no file is read into
memory as a whole, however long it or one of its lines is.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmrl.data.row_format import without_nulls
from mmrl.errors import DataError

Numbered = Iterator[tuple[str, Any]]
"""Places such as `file:17`, each with the record or with the DataError that stands for it."""

JSON_COLUMNS = b"mmrl.json_columns"
"""Key of a parquet file's metadata: columns of JSON text, whose values Arrow would change."""

LIMIT_RECORD_BYTES = 256 << 20
"""A record beyond this is no record but a file of another kind."""

_BLOCK = 1 << 20
_BOM = b"\xef\xbb\xbf"
_NUMBER_REST = 8
"""Characters by which a number that is cut may look like a shorter one: 3.5e-7 and 3.5."""

_LETTER = re.compile(r"\S")
_SPACE = re.compile(r"[\s,]*")


def read_records(path: Path, *, encoding: str | None = None, delimiter: str = "") -> Numbered:
    """Yield the records of a file with their places.

    Args:
        path: The file.
        encoding: Of a .csv or .tsv file; found out where it is not given.
        delimiter: Of a .csv or .tsv file; a comma or a tab by its suffix where it is not given.

    Raises:
        DataError: it is not there, of no known kind, or of another encoding.
    """
    from mmrl.data.tables import read_table

    readers: dict[str, Callable[[Path], Numbered]] = {
        ".jsonl": read_jsonl,
        ".json": read_json,
        ".parquet": read_parquet,
        ".csv": lambda path: read_table(path, encoding=encoding, delimiter=delimiter or ","),
        ".tsv": lambda path: read_table(path, encoding=encoding, delimiter=delimiter or "\t"),
    }
    if path.suffix not in readers:
        raise DataError(f"{path}: records are read from {', '.join(readers)} files only")
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    return readers[path.suffix](path)


def count_records(path: Path) -> int | None:
    """Return about how many records a file has, for a progress bar; None where nobody knows."""
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        try:
            return parquet.read_metadata(path).num_rows
        except (pyarrow.ArrowException, OSError):
            return None
    if path.suffix not in (".jsonl", ".csv", ".tsv") or not path.is_file():
        return None
    with path.open("rb") as file:
        count = sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))
    return max(0, count - (path.suffix != ".jsonl"))


def read_jsonl(path: Path) -> Numbered:
    """Yield the objects of a file that has one on each line."""
    number = 0
    with path.open("rb") as file:
        while line := file.readline(LIMIT_RECORD_BYTES):
            number += 1
            where = f"{path}:{number}"
            if len(line) == LIMIT_RECORD_BYTES and not line.endswith(b"\n"):
                _skip_line(file)
                size = f"more than {LIMIT_RECORD_BYTES >> 20} MiB"
                yield where, DataError(f"{where}: a line of {size}; is this a file of rows?")
                continue
            if number == 1:
                line = line.removeprefix(_BOM)
            if line.strip():
                yield where, _parse_line(line, where)


def read_json(path: Path) -> Numbered:
    """Yield the items of a file that holds one list, or the one object that it holds.

    What follows an item that is no JSON cannot be found again: reading ends there with an error.
    """
    number = 0
    try:
        for number, item in enumerate(_items(path), start=1):
            yield f"{path}[{number}]", item
    except UnicodeDecodeError:
        yield f"{path}[{number + 1}]", DataError(f"{path}: not UTF-8 text; save the file as UTF-8")
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        where = f"{path}[{number + 1}]"
        yield where, DataError(f"{where}: not JSON: {reason}; nothing after it is read")


def read_parquet(path: Path) -> Numbered:
    """Yield the rows of a parquet file without the nulls that Arrow filled in."""
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            as_json = json.loads((file.schema_arrow.metadata or {}).get(JSON_COLUMNS, b"[]"))
            for batch in file.iter_batches(batch_size=64):
                for raw in batch.to_pylist():
                    number += 1
                    loose = {key: json.loads(raw[key]) for key in as_json if raw[key] is not None}
                    yield f"{path}:{number}", without_nulls(raw) | loose
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        yield f"{path}:{number + 1}", DataError(f"{path}: not a readable parquet file: {reason}")


def _skip_line(file: Any) -> None:
    while (rest := file.readline(_BLOCK)) and not rest.endswith(b"\n"):
        pass


def _parse_line(line: bytes, where: str) -> Any:
    """Return the object, or the DataError that reports it, so that reading goes on."""
    try:
        return _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError:
        return DataError(f"{where}: not UTF-8 text; save the file as UTF-8")
    except json.JSONDecodeError as error:
        return DataError(f"{where}: not JSON: {error.msg} at character {error.colno}")
    except (ValueError, RecursionError) as error:
        return DataError(f"{where}: not usable JSON: {error}")


def _items(path: Path) -> Iterator[Any]:
    """Yield the items of a list, holding no more text than the longest of them."""
    decode = codecs.getincrementaldecoder("utf-8-sig")()
    with path.open("rb") as file:
        text = decode.decode(file.read(_BLOCK)).lstrip()
        if not text.startswith("["):
            # One object may be as large as the file.
            yield _DECODER.decode(text + decode.decode(_rest(file), final=True))
            return
        text, wanted = text[1:], _BLOCK
        while True:
            block = file.read(wanted)
            text = text.lstrip() + decode.decode(block, final=not block)
            found, text = _whole_items(text, last=not block)
            yield from found
            if not block:
                return
            wanted = _BLOCK if found else min(2 * wanted, LIMIT_RECORD_BYTES)
            if len(text) > LIMIT_RECORD_BYTES:
                raise ValueError(f"an item of more than {LIMIT_RECORD_BYTES >> 20} MiB")


def _rest(file: Any) -> bytes:
    rest = file.read(LIMIT_RECORD_BYTES)
    if len(rest) == LIMIT_RECORD_BYTES:
        raise ValueError(f"an object of more than {LIMIT_RECORD_BYTES >> 20} MiB")
    return rest


def _whole_items(text: str, *, last: bool) -> tuple[list[Any], str]:
    """Return the items that are complete, and the text that follows them."""
    found: list[Any] = []
    place = 0
    while True:
        start = _after_separator(text, place)
        if text[start : start + 1] == "]":
            if text[start + 1 :].strip():
                raise ValueError("text after the end of the list")
            return found, text[start:]
        try:
            item, end = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError:
            if last:
                raise
            return found, text[place:]
        after = _LETTER.search(text, end)
        if after is None or after.group() not in ",]":
            if not last and (after is None or len(text) - end < _NUMBER_REST):
                return found, text[place:]
            raise ValueError("an item without a comma or ] after it")
        found.append(item)
        place = end


def _after_separator(text: str, place: int) -> int:
    """Skip blanks and one comma."""
    match = _SPACE.match(text, place)
    end = match.end() if match else place
    if text.count(",", place, end) > 1:
        raise ValueError("two commas without an item between them")
    return end


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key in found if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


_DECODER = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique)
