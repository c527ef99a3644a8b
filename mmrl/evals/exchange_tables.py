"""Reads the tables in which VLMEvalKit stores predictions: .xlsx, .tsv, .csv and .json."""

from __future__ import annotations

import ast
import csv
import math
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from mmrl.errors import DataError
from mmrl.evals.records import read_file

_LARGEST_CELL = 1 << 28
"""Characters; tables may hold pictures in base64."""
_LONGEST_LIST = 20_000
"""Characters of a list that is written as text."""


def read_table(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table. Empty cells are None, lists that stand as text are lists, and the
    columns A, B, C ... are `choices` where there is no such column.

    Raises:
        DataError: the file is of another kind, or cannot be read.
    """
    readers = {
        ".xlsx": _read_xlsx,
        ".tsv": lambda path: _read_text(path, "\t"),
        ".csv": lambda path: _read_text(path, ","),
        ".json": read_file,
        ".jsonl": read_file,
    }
    if file.suffix not in readers:
        raise DataError(f"{file}: predictions are read from {', '.join(readers)} files only")
    for row in readers[file.suffix](file):
        yield _clean(row)


def _read_text(file: Path, delimiter: str) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(_LARGEST_CELL)
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            for number, row in enumerate(csv.DictReader(opened, delimiter=delimiter), start=2):
                if None in row:
                    raise DataError(f"{file}:{number}: has more cells than the header")
                yield row
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a table of UTF-8 text: {error}") from error


def _read_xlsx(file: Path) -> Iterator[dict[str, Any]]:
    try:
        import openpyxl  # noqa: F401  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
        import pandas
    except ImportError as error:
        raise DataError(
            f"{file}: .xlsx needs openpyxl, which is not installed; "
            "pip install 'mmrl-toolkit[xlsx]', or save the table as .tsv"
        ) from error
    try:
        table = pandas.read_excel(file, engine="openpyxl", dtype=object)
    except Exception as error:  # the reader raises from every layer below it
        reason = str(error).split("\n", 1)[0]
        raise DataError(f"{file}: not a readable .xlsx file: {reason}") from error
    for row in table.to_dict(orient="records"):
        yield {str(key): value for key, value in row.items()}


def _clean(row: Any) -> dict[str, Any]:
    fields = {str(key): _cell(value) for key, value in row.items()}
    options = [fields[letter] for letter in ascii_uppercase if fields.get(letter) is not None]
    if options and not fields.get("choices"):
        fields["choices"] = [str(option) for option in options]
    for key in ("choices", "options", "candidates"):
        if isinstance(fields.get(key), str):
            fields[key] = _listed(fields[key])
    precision = fields.get("precision")
    if isinstance(precision, str):
        fields["precision"] = _number(precision)
    return fields


def _cell(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    return None if value == "" else value


def _listed(text: str) -> Any:
    """Return the list that a text spells, as Python writes lists; else the text."""
    if not text.lstrip().startswith("[") or len(text) > _LONGEST_LIST:
        return text
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return [str(one) for one in found] if isinstance(found, list) else text


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
