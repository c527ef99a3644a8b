"""A page to look at rows: every prompt with its media, its answer and its gold response, boxes
drawn in.

Static HTML without a script; everything from a row is escaped. Media are linked relative to the
page.
"""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mmrl.errors import DataError
from mmrl.media.encoded import Format, read_encoded, sniff
from mmrl.media.image import open_header
from mmrl.types import Medium, Row

_STYLE = """ :root { color-scheme: light dark; } body { font: 15px/1.5 system-ui, sans-serif;
margin: 2rem auto; max-width: 76rem; padding: 0 1rem; } header p, .facts, .role { color:
color-mix(in srgb, currentColor 65%, transparent); } main { display: grid; gap: 1rem;
grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); } article { border: 1px solid
color-mix(in srgb, currentColor 20%, transparent); border-radius: 8px; padding: .8rem 1rem;
overflow-wrap: anywhere; } h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: .95rem; margin: 0; }
p { margin: .4rem 0; white-space: pre-wrap; } .facts, .role { font-size: .8rem; margin: 0; } figure
{ margin: .5rem 0; position: relative; width: fit-content; max-width: 100%; } figure img, figure
video { display: block; max-width: 100%; min-width: 8rem; max-height: 20rem; image-rendering: auto;
} figure.small img { width: 11rem; image-rendering: pixelated; } figure svg {
position: absolute; inset: 0; width: 100%; height: 100%; } rect { fill: none; stroke: #e6007a;
stroke-width: 2px; vector-effect: non-scaling-stroke; } figure.sound { width: auto; } audio { width:
100%; } .answer { font-weight: 600; } pre { white-space: pre-wrap; margin: .4rem 0; } """.strip()

_SMALL = 160
"""Pixels up to which a picture is enlarged on the page."""


def write_page(rows: Sequence[Row], page: Path, *, title: str, total: int) -> None:
    """Write the page.

    Args:
        rows: The rows to show.
        page: The file; links to media are relative to its folder.
        title: What the rows are called.
        total: How many rows there are in all.
    """
    shown = f"{len(rows)} of {total} rows" if len(rows) < total else f"{total} rows"
    articles = "\n".join(_article(row, page.absolute().parent) for row in rows)
    unfinished = page.with_name(f".{page.name}.{os.getpid()}.tmp")
    unfinished.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><header><h1>{_text(title)}</h1><p>{shown}</p></header>\n"
        f"<main>\n{articles}\n</main></body></html>\n",
        encoding="utf-8",
    )
    unfinished.replace(page)


def _article(row: Row, folder: Path) -> str:
    verifiers = ", ".join(_call(term.name, term.params) for term in row.verifier)
    facts = [row.source, verifiers]
    if row.difficulty is not None:
        facts.append(f"difficulty {row.difficulty:g}")
    messages = "\n".join(_message(message, row, folder) for message in row.prompt)
    response = f"<pre>{_text(row.response)}</pre>" if row.response else ""
    extra = f'<p class="facts">{_text(_shown(dict(row.extra)))}</p>' if row.extra else ""
    return (
        f'<article id="{_text(row.id)}"><h2>{_text(row.id)}</h2>'
        f'<p class="facts">{_text(" · ".join(facts))}</p>\n{messages}\n'
        f'<p class="answer">{_text(_shown(row.answer))}</p>{response}{extra}</article>'
    )


def _message(message: Mapping[str, Any], row: Row, folder: Path) -> str:
    role = "" if message["role"] == "user" else f'<p class="role">{_text(message["role"])}</p>'
    return role + "".join(_part(part, row, folder) for part in message["content"])


def _part(part: Mapping[str, Any], row: Row, folder: Path) -> str:
    if part["type"] == "text":
        return f"<p>{_text(part['text'])}</p>"
    medium: Medium = part[part["type"]]
    link = _text(_link(medium, folder))
    if medium.kind == "audio":
        return (
            f'<figure class="sound"><audio controls preload="none" src="{link}"></audio></figure>'
        )
    if medium.kind == "video":
        return f'<figure><video controls loop muted src="{link}"></video></figure>'
    size = _size(medium)
    css = ' class="small"' if size and max(size) <= _SMALL else ""
    return f'<figure{css}><img loading="lazy" src="{link}" alt="">{_boxes(row, size)}</figure>'


def _link(medium: Medium, folder: Path) -> str:
    if isinstance(medium.source, bytes):
        kind = _mime(medium.kind, sniff(medium.source[:512]))
        return f"data:{kind};base64,{base64.b64encode(medium.source).decode()}"
    return quote(Path(os.path.relpath(medium.source.absolute(), folder)).as_posix())


def _mime(kind: str, found: Format | None) -> str:
    names = {"mov": "mp4", "matroska": "webm", "MP3": "mpeg"}
    return f"{kind}/{names.get(found.name, found.name.lower())}" if found else f"{kind}/*"


def _size(medium: Medium) -> tuple[int, int] | None:
    """Return width and height of a picture from its header, None where it has none to read."""
    try:
        encoded = read_encoded(medium, "")
        found = sniff(encoded[:512])
        return open_header(encoded, found.name).size if found and found.kind == "image" else None
    except (OSError, ValueError, SyntaxError, DataError):
        return None


def _boxes(row: Row, size: tuple[int, int] | None) -> str:
    """Draw the answer's boxes over a picture, in the space that the row names."""
    space = row.extra.get("coordinates", "pixel")
    scales = {"norm1000": (1000, 1000), "unit": (1, 1), "pixel": size}
    view = scales.get(space)
    found = _found_boxes(row.answer)
    if view is None or not found or not any("box" in term.name for term in row.verifier):
        return ""
    drawn = "".join(
        f'<rect x="{x:g}" y="{y:g}" width="{max(0, right - x):g}" height="{max(0, bottom - y):g}"/>'
        for x, y, right, bottom in found
    )
    return f'<svg viewBox="0 0 {view[0]} {view[1]}" preserveAspectRatio="none">{drawn}</svg>'


def _found_boxes(answer: Any) -> list[list[float]]:
    candidates = answer if isinstance(answer, list) and answer and _is_box(answer[0]) else [answer]
    return [box for box in candidates if _is_box(box)]


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(edge, int | float) and not isinstance(edge, bool) for edge in value)
    )


def _call(name: str, params: Mapping[str, Any]) -> str:
    return (
        f"{name}({', '.join(f'{key}={value}' for key, value in params.items())})"
        if params
        else name
    )


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _text(value: str) -> str:
    return html.escape(value, quote=True)
