"""What benchmark files share: records that are numbered, splits that come in several parts, numbers
that Qwen publishes, and pictures within a question.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.errors import DataError
from mmrl.evals.benchmark import Message, Published, Record, Records, Split, user_turn
from mmrl.evals.records import KEY, read_records

LETTER_ONLY = "Answer with the option's letter from the given choices directly."
ONE_WORD = "Answer the question using a single word or phrase."

_MARK = re.compile(r"<image\s+(\d{1,2})>")


def qwen(
    q25: float | None = None,
    instruct: float | None = None,
    thinking: float | None = None,
    setting: str = "",
) -> tuple[Published, ...]:
    """Return the numbers that Qwen publishes for its models of 7 and 8 billion parameters."""
    rows = (
        ("Qwen2.5-VL-7B", q25, "Qwen2.5-VL report"),
        ("Qwen3-VL-8B-Instruct", instruct, "Qwen3-VL repository, temperature 0.7"),
        ("Qwen3-VL-8B-Thinking", thinking, "Qwen3-VL repository, temperature 1.0"),
    )
    return tuple(
        Published(model=model, value=value, source=source, setting=setting)
        for model, value, source in rows
        if value is not None
    )


def numbered(source: Path | str, split: Split) -> Iterator[Record]:
    """Yield the records of a data set without ids, each with its place as the key."""
    for place, record in enumerate(read_records(source, split)):
        yield record if KEY in record else {KEY: str(place), **record}


def read_tsv(path: Path) -> Iterator[Record]:
    """Yield the rows of a table that is separated by tabs, with pictures in base64, or the index of
    the row whose picture is meant.

    Raises:
        DataError: it is no such table.
    """
    pictures: dict[str, bytes] = {}
    csv.field_size_limit(1 << 28)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                picture = row.get("image") or ""
                if len(picture) > 64:
                    pictures[row["index"]] = base64.b64decode(picture, validate=True)
                data = pictures[row["index"] if len(picture) > 64 else picture]
                yield {**row, "image": {"bytes": data, "path": None}}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a table of questions: {error!r}") from error


def by_config(configs: Sequence[str]) -> Records:
    """Return a reader of a split that the hub has as several configurations; a local copy is read
    by its file names.
    """

    def records(source: Path | str, split: Split) -> Iterator[Record]:
        if Path(source).exists():
            yield from read_records(source, split)
            return
        for config in configs:
            yield from read_records(source, dataclasses.replace(split, config=config))

    return records


def record_id(record: Record, *keys: str) -> str:
    """Return the first of these columns that a record has, as text, else its place in the file."""
    found = next((record[key] for key in keys if record.get(key) is not None), None)
    return str(record.get(KEY, "") if found is None else found)


def groups_of(record: Record, **columns: str) -> dict[str, str | tuple[str, ...]]:
    """Return the groups of a record: the name of each group and the column that holds its value."""
    values = {name: record.get(column) for name, column in columns.items()}
    return {
        name: tuple(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for name, value in values.items()
        if value not in (None, "", [])
    }


def media_key(value: Any) -> str:
    """Return what tells one picture, video or sound of a record from another; empty where it has no
    name.
    """
    if isinstance(value, Mapping):
        value = value.get("path")
    return str(value) if isinstance(value, str | Path) else ""


def interleaved(text: str, record: Record) -> list[Message]:
    """Return one message in which each mark `<image 2>` is the record's `image_2`.

    Raises:
        DataError: the text marks a picture that the record does not have.
    """
    parts: list[Any] = []
    last = 0
    for mark in _MARK.finditer(text):
        picture = record.get(f"image_{mark[1]}")
        if picture is None:
            raise DataError(
                f"{record.get('id', 'a record')}: {mark[0]} is marked but image_{mark[1]} is empty"
            )
        parts += [text[last : mark.start()], ("image", picture)]
        last = mark.end()
    parts.append(text[last:])
    return user_turn(*(part for part in parts if not isinstance(part, str) or part.strip()))
