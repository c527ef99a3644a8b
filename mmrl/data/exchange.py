"""A record of a format as a row, and a row as a record.

A written record is read back at once: what the format has no field for is kept in one more field,
and a row whose prompt would read differently does not fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.data.format import KEPT, Format, Misfit, Origin, Record
from mmrl.data.row_format import OPTIONAL, REQUIRED
from mmrl.data.writing import row_to_json
from mmrl.types import Medium, Row


def read_record(
    found: Format,
    record: Any,
    origin: Origin,
    *,
    params: Mapping[str, Any] | None = None,
    drop: Sequence[str] = (),
    numbered: bool = False,
) -> dict[str, Any]:
    """Return a record of a format as a row's JSON object; fields that it does not know become
    `extra`.

    Args:
        found: The format.
        record: What was read; it is not changed.
        origin: Where it comes from.
        params: Arguments of the format's reader.
        drop: Fields that are left out.
        numbered: Make the id of the file's name and the record's number.

    Raises:
        Misfit: the record is none of the format, or holds what a row cannot.
    """
    if not isinstance(record, Mapping):
        raise Misfit(f"a {type(record).__name__} where a record, an object, should stand")
    left = {key: value for key, value in record.items() if key not in drop}
    kept = left.pop(KEPT, None)
    raw = found.read(left, origin, **(params or {}))
    extra = raw.get("extra", {})
    both = extra.keys() & left.keys()
    if both:
        raise Misfit(f"two of its fields would be extra.{min(both)}; drop=[{min(both)}] leaves one")
    number = f"{origin.name}-{origin.number}"
    raw = {"id": number, "source": origin.name, **raw, "extra": {**extra, **left}}
    if kept not in (None, ""):  # a table has an empty cell
        raw = {**raw, **_kept(kept)}
    if numbered and raw["id"] != number:
        raw["extra"] = {**raw["extra"], "id": raw["id"]}
        raw["id"] = number
    _check_extra(raw["extra"])
    return {key: value for key, value in raw.items() if value is not None}


def write_record(found: Format, row: Row) -> Record:
    """Return a row as a record of a format, in which media stand as `Medium`.

    Raises:
        Misfit: the format cannot say the row's prompt.
    """
    if found.write is None:
        raise Misfit(f"format {found.name!r} is only read")
    written = found.write(row)
    wanted = _comparable(row)
    # Where the format takes one of the row's extra fields for its own, they are kept apart.
    for extra in ({} if found.schema else row.extra, {}):
        record = {**{key: extra[key] for key in extra if key not in written}, **written}
        try:
            back = {"reward": {}, **read_record(found, record, Origin(name="", number=0))}
        except Misfit:
            continue
        if _texts(back["prompt"]) == _texts(wanted["prompt"]):
            break
    else:
        raise Misfit(f"its prompt would read differently in {found.name!r}")
    back["verifier"] = _terms(back["verifier"])
    keys = [key for key in (*REQUIRED, *OPTIONAL) if key != "prompt"]
    kept = {key: wanted.get(key) for key in keys if wanted.get(key) != back.get(key)}
    return {**record, KEPT: json.dumps(kept, ensure_ascii=False)} if kept else record


def _kept(text: Any) -> dict[str, Any]:
    try:
        kept = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        kept = None
    if not isinstance(kept, dict):
        raise Misfit(f"the field {KEPT!r} holds no JSON object; drop=[{KEPT}] leaves it out")
    return kept


def _check_extra(extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise Misfit(f"no row can keep the field {key!r} ({error}); drop=[{key}]") from error


def _comparable(row: Row) -> dict[str, Any]:
    raw = row_to_json(row, Path())
    raw["prompt"] = row.prompt
    raw["verifier"] = _terms(raw["verifier"])
    return raw


def _terms(verifier: Any) -> list[dict[str, Any]]:
    given = verifier if isinstance(verifier, list) else [verifier]
    terms = [{"name": term} if isinstance(term, str) else term for term in given]
    return [{"params": {}, "weight": 1.0, **term} for term in terms]


def _texts(prompt: Any) -> list[tuple[str, list[Any]]]:
    """Return messages as roles and parts, with neighbouring texts made one."""
    found = []
    for message in prompt:
        parts: list[Any] = []
        for part in message["content"]:
            value = part[part["type"]]
            if part["type"] == "text" and parts and isinstance(parts[-1], str):
                parts[-1] += value
            elif part["type"] == "text":
                parts.append(value)
            else:
                parts.append((part["type"], _Shown(value)))
        found.append((message["role"], [part for part in parts if part != ""]))
    return found


class _Shown:
    """A medium that equals the end of its path: formats may leave the beginning to a folder."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Shown):
            return NotImplemented
        first, second = self.value, other.value
        if isinstance(first, str):
            first, second = second, first
        if isinstance(second, str) and isinstance(first, Medium):
            return isinstance(first.source, Path) and first.source.as_posix().endswith(second)
        return first == second

    __hash__ = None  # pyright: ignore[reportAssignmentType]
