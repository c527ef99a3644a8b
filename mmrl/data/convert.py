"""Rows out of other people's records, and their records out of rows.

Each record is converted by itself, so that any engine can do it. What does not fit is counted by
its reason.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrl.data.engines import Engine, map_items
from mmrl.data.exchange import read_record, write_record
from mmrl.data.format import Misfit, Origin, Record, find_format
from mmrl.data.inputs import Input
from mmrl.data.row_format import parse_row
from mmrl.data.writing import row_to_json, write_medium
from mmrl.errors import DataError
from mmrl.types import Medium, Row

ROWS = "rows"
"""The name of mmrl's own format."""

SHOWN_IDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """What is done with every record."""

    source: str = ROWS
    """The format that records are read in."""
    target: str = ROWS
    """The format that they are written in."""
    out: Path
    """The file that is written: media paths are relative to its folder."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the source format's reader."""
    verifier: Any = None
    """Verifier of every row, instead of the one that the format says."""
    name: str | None = None
    """Source of every row, instead of the one that the record says."""
    drop: tuple[str, ...] = ()
    """Fields that are left out."""
    numbered: bool = False
    """Make ids of the file's name and the record's number; the record's own go into `extra`."""
    find_media: bool = True
    """Leave out rows whose media files are not there."""
    project: Path | None = None
    """Where a project's own formats are looked for."""


@dataclass(kw_only=True, slots=True)
class Tally:
    """What became of the records."""

    read: int = 0
    written: int = 0
    reasons: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    """By reason: how many records did not fit, and the first of their ids."""

    @property
    def left_out(self) -> int:
        """Records that did not fit."""
        return self.read - self.written

    def add(self, name: str, reason: str) -> None:
        """Count a record that did not fit."""
        count, names = self.reasons.setdefault(reason, (0, []))
        if len(names) < SHOWN_IDS:
            names.append(name)
        self.reasons[reason] = (count + 1, names)

    def lines(self) -> list[str]:
        """Say each reason in a line, the most frequent first."""
        ordered = sorted(self.reasons.items(), key=lambda item: -item[1][0])
        return [
            f"{count} left out: {reason} ({', '.join([*names, *['...'] * (count > len(names))])})"
            for reason, (count, names) in ordered
        ]


def convert_inputs(
    conversion: Conversion,
    inputs: Iterable[Input],
    tally: Tally,
    *,
    engine: Engine = "local",
    workers: int | None = None,
    on_record: Callable[[int], None] | None = None,
    on_misfit: Callable[[str, str], None] | None = None,
) -> Iterator[Record]:
    """Yield what the records of all inputs become, in their order; media may be bytes in it.

    Args:
        conversion: What is done.
        inputs: Where records come from.
        tally: Counts them.
        engine: Where records are converted.
        workers: In how many processes.
        on_record: Called with the number of records so far.
        on_misfit: Called with the name of every record that does not fit, and the reason.
    """
    taken: set[str] = set()
    items = (item for given in inputs for item in _items(given, conversion))
    function = functools.partial(convert_record, conversion)
    for made in map_items(function, items, engine=engine, workers=workers):
        tally.read += 1
        name, reason = made["name"], made.get("reason")
        if reason is None and name in taken:
            reason = "the id is taken by another record; ids=number makes new ones"
        if reason is None:
            taken.add(name)
            tally.written += 1
            yield made["record"]
        else:
            tally.add(name, reason)
            if on_misfit:
                on_misfit(name, reason)
        if on_record:
            on_record(tally.read)


def convert_record(conversion: Conversion, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one record becomes: its `name` and the new `record`, or the `reason` why not."""
    where = item["where"]
    if "error" in item:
        return {"name": where, "reason": item["error"]}
    origin = Origin(name=item["origin"], number=item["number"], folder=Path(item["folder"]))
    name = where
    try:
        raw = item["record"]
        if conversion.source != ROWS:
            found = find_format(conversion.source, conversion.project)
            raw = read_record(
                found,
                raw,
                origin,
                params=conversion.params,
                drop=conversion.drop,
                numbered=conversion.numbered,
            )
            raw |= {key: value for key, value in _given(conversion).items() if value is not None}
        name = str(raw.get("id") or where) if isinstance(raw, Mapping) else where
        row = _parsed(raw, origin.folder)
        if conversion.find_media:
            _check_media(row)
        return {"name": row.id, "record": _written(row, conversion)}
    except Misfit as misfit:
        return {"name": name, "reason": str(misfit)}


def _items(given: Input, conversion: Conversion) -> Iterator[dict[str, Any]]:
    for number, (where, record) in enumerate(given.records, start=1):
        item = {"where": where, "number": number, "origin": given.name}
        if isinstance(record, DataError):
            yield {**item, "error": str(record).removeprefix(f"{where}: ")}
        else:
            yield {**item, "folder": str(given.folder), "record": record}


def _given(conversion: Conversion) -> dict[str, Any]:
    return {"verifier": conversion.verifier, "source": conversion.name}


def _parsed(raw: Mapping[str, Any], folder: Path) -> Row:
    try:
        return parse_row(raw, where="", folder=folder)
    except DataError as error:
        reason = str(error).removeprefix(": ")
        row_id = raw.get("id") if isinstance(raw, Mapping) else None
        raise Misfit(reason.removeprefix(f"row {row_id}: ")) from error


def _check_media(row: Row) -> None:
    for medium in row.media:
        if isinstance(medium.source, Path) and not medium.source.is_file():
            what = "is no file" if medium.source.exists() else "is not there"
            raise Misfit(f"a {medium.kind} {what}; media=FOLDER says where media are")


def _written(row: Row, conversion: Conversion) -> Record:
    """Return what is written for a row, with its media where the file finds them."""
    out = conversion.out
    if conversion.target != ROWS:
        record = write_record(find_format(conversion.target, conversion.project), row)
        return {key: _settled(value, out) for key, value in record.items()}
    raw = row_to_json(row, out.parent)
    for message in raw["prompt"]:
        for part in message["content"]:
            kind = part["type"]
            if isinstance(part[kind], bytes) and out.suffix == ".jsonl":
                part[kind] = write_medium(Medium(kind=kind, source=part[kind]), out.parent)
    return raw


def _settled(value: Any, out: Path) -> Any:
    """Replace media by paths; in parquet by their bytes."""
    if isinstance(value, Medium):
        if out.suffix == ".parquet":
            encoded = value.source
            encoded = encoded if isinstance(encoded, bytes) else encoded.read_bytes()
            return {"bytes": encoded, "path": None}
        if isinstance(value.source, bytes):
            return write_medium(value, out.parent)
        path, folder = value.source.absolute(), out.parent.absolute()
        return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()
    if isinstance(value, list | tuple):
        return [_settled(item, out) for item in value]
    return value
