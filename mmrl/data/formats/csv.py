"""A plain table: a question, an answer, and paths of media, in columns that the user may name.

Several media of a kind stand in one cell with a separator between them; `<image>`, `<video>` and
`<audio>` in the question say where they belong. Other columns go into `extra`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrl.answer import as_text
from mmrl.data.format import Format, Misfit, Origin, Record, register_format
from mmrl.data.formats._fields import place, question, take
from mmrl.errors import ConfigError
from mmrl.types import Row

_COLUMNS = {name: name for name in ("id", "source", "question", "answer", "verifier", "response")}
_COLUMNS |= {kind: kind for kind in ("image", "video", "audio")}
_SEPARATOR = ";"


def read(
    record: Record,
    origin: Origin,
    *,
    columns: Mapping[str, str] | None = None,
    separator: str = _SEPARATOR,
) -> Record:
    """Read one line; `columns.question=Frage` says what a column is called."""
    unknown = (columns or {}).keys() - _COLUMNS.keys()
    if unknown:
        raise ConfigError(f"columns: there is no {min(unknown)!r}; there are {', '.join(_COLUMNS)}")
    names = {**_COLUMNS, **(columns or {})}
    cells = {key: take(record, name, (str, int, float, list), "") for key, name in names.items()}
    for key in ("question", "answer"):
        if str(cells[key]).strip() == "":
            raise Misfit(f"nothing in the column {names[key]!r}")
    media = {kind: _paths(cells[kind], separator) for kind in ("image", "video", "audio")}
    row: Record = {
        "prompt": [{"role": "user", "content": place(str(cells["question"]), media)}],
        "answer": cells["answer"],
        "verifier": cells["verifier"] or "exact",
    }
    optional = {key: str(cells[key]) for key in ("id", "source", "response")}
    return row | {key: value for key, value in optional.items() if value}


def write(row: Row) -> Record:
    """Write one line."""
    text, media = question(row)
    for medium in row.media:
        if isinstance(medium.source, Path) and _SEPARATOR in str(medium.source):
            raise Misfit(f"the path of a medium holds {_SEPARATOR!r}")
    record: dict[str, Any] = {
        "id": row.id,
        "source": row.source,
        "question": text,
        "answer": as_text(row.answer),
        "verifier": row.verifier[0].name,
        "response": row.response or "",
    }
    return record | {kind: media.get(kind, []) for kind in ("image", "video", "audio")}


def _paths(cell: Any, separator: str) -> list[Any]:
    if isinstance(cell, list):
        return cell
    return [path.strip() for path in str(cell).split(separator) if path.strip()]


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema([(name, pa.string()) for name in _COLUMNS])


register_format(
    Format(
        name="csv",
        summary="A plain table: question, answer, image, video, audio; any encoding that is named",
        read=read,
        write=write,
        suffixes=(".csv",),
        schema=_schema,
    )
)
