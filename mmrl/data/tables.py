"""Records of .csv and .tsv files, whose encoding is given or found out, never guessed.

A file is UTF-8, or UTF-16 with a byte order mark, or the user says what it is. What does not decode
without a remainder is refused in one line: replaced letters would be trained on.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrl.errors import ConfigError, DataError

_BLOCK = 1 << 20
_FIELD_LIMIT = 64 << 20
_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))
_CONTROLS = re.compile("[\x80-\x9f]")


def read_table(
    path: Path, *, encoding: str | None = None, delimiter: str = ","
) -> Iterator[tuple[str, Any]]:
    """Yield the lines of a table as records by its header, each with its place.

    Raises:
        DataError: another encoding, no header, or a header that cannot be used.
        ConfigError: there is no such encoding, or the delimiter is not one character.
    """
    if len(delimiter) != 1:
        raise ConfigError(f"delimiter: must be one character, got {delimiter!r}")
    encoding = check_encoding(path, encoding)
    csv.field_size_limit(_FIELD_LIMIT)
    with path.open(encoding=encoding, errors="strict", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as error:
                where = f"{path}:{reader.line_num}"
                yield where, DataError(f"{where}: not a line of a table: {error}")
                continue
            if fields is None:
                break
            where = f"{path}:{reader.line_num}"
            if header is None:
                header = _header(fields, path, delimiter)
            elif fields and len(fields) != len(header):
                found = f"{len(fields)} fields where the header has {len(header)}"
                yield where, DataError(f"{where}: {found}; quote fields that hold {delimiter!r}")
            elif fields:
                yield where, dict(zip(header, fields, strict=True))
    if header is None:
        raise DataError(f"{path}: is empty; a table begins with the names of its columns")


def check_encoding(path: Path, encoding: str | None) -> str:
    """Return the encoding that a text file is in.

    Args:
        path: The file; it is read to its end.
        encoding: What the user says that it is.

    Raises:
        DataError: the file is not in that encoding, or where none is given not in UTF-8.
        ConfigError: there is no such encoding.
    """
    with path.open("rb") as file:
        head = file.read(4)
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    wanted = _known(encoding) if encoding else marked or "utf-8"
    bad = _undecodable(path, wanted)
    if bad is None and encoding and _known("utf-8") != wanted and marked != wanted:
        _check_that_it_is_not_utf8(path, wanted)
    if bad is None:
        return wanted
    if encoding:
        raise DataError(f"{path}:{bad[0]}: not {encoding}: byte {bad[1]:#04x}; say encoding=NAME")
    likely = _likely(path)
    hint = f"encoding={likely} if that is what it is" if likely else "say encoding=NAME"
    raise DataError(f"{path}:{bad[0]}: not UTF-8 (byte {bad[1]:#04x}); {hint}, or save it as UTF-8")


def _known(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise ConfigError(f"encoding: there is no encoding {encoding!r}") from error


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _undecodable(path: Path, encoding: str) -> tuple[int, int] | None:
    """Return line and value of the first byte that cannot be decoded; None where all can."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    for block in _blocks(path):
        try:
            line += decoder.decode(block).count("\n")
        except UnicodeDecodeError as error:
            return line + error.object[: error.start].count(b"\n"), error.object[error.start]
        except UnicodeError:
            return line, block[0]
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return line, error.object[error.start]
    return None


def _check_that_it_is_not_utf8(path: Path, encoding: str) -> None:
    """Refuse an encoding of one byte per letter for a file that can only be UTF-8.

    Such an encoding decodes any bytes, to other letters; text in it is hardly ever UTF-8 by
    chance.
    """
    beyond = any(not block.isascii() for block in _blocks(path))
    if beyond and _undecodable(path, "utf-8") is None and not encoding.startswith("utf"):
        raise DataError(f"{path}: is UTF-8, not {encoding}; leave 'encoding' out")
    for block in _blocks(path):
        if encoding.startswith("iso8859") and _CONTROLS.search(block.decode("latin-1")):
            raise DataError(f"{path}: holds no {encoding} letters; it may be cp1252")


def _likely(path: Path) -> str | None:
    from charset_normalizer import from_bytes

    with path.open("rb") as file:
        best = from_bytes(file.read(_BLOCK)).best()
    return best.encoding if best else None


def _header(fields: list[str], path: Path, delimiter: str) -> list[str]:
    names = [name.strip() for name in fields]
    twice = {name for name in names if names.count(name) > 1}
    if twice or not all(names):
        found = f"the column {min(twice)!r} twice" if twice else "a column without a name"
        raise DataError(f"{path}:1: {found} in the header; rename it")
    other = next((mark for mark in ";\t|," if mark != delimiter and mark in names[0]), None)
    if len(names) == 1 and other:
        raise DataError(f"{path}:1: one column, {names[0][:60]!r}; say delimiter={other!r}")
    return names
