"""A medium on a page: a picture with the answer's boxes over it, or a player."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mmrl.answer import BadGold
from mmrl.coordinates import gold_box, gold_frame
from mmrl.errors import DataError
from mmrl.media.encoded import Format, hash_medium, read_encoded, sniff
from mmrl.media.image import open_header
from mmrl.reporting.markup import text
from mmrl.types import Medium, Row
from mmrl.verify.detections import gold_detections

_SMALL = 160
"""Pixels up to which a picture is enlarged on the page."""

_INLINE = 256 << 10
"""Bytes of a medium up to which they stand in the page itself; longer ones become files."""

_UPRIGHT = 0x0112
"""The EXIF field that says how a picture is turned; browsers and training turn it back."""


def figure(medium: Medium, row: Row, page: Path) -> str:
    """Return the HTML of a medium.

    Args:
        medium: Which.
        row: Whose answer may be boxes in it.
        page: The page's file; media that are not files yet are written beside it.
    """
    if isinstance(medium.source, Path) and not medium.source.is_file():
        return f'<p class="missing">no such file: {text(str(medium.source))}</p>'
    link = text(_link(medium, page))
    if medium.kind == "audio":
        return (
            f'<figure class="sound"><audio controls preload="none" src="{link}"></audio></figure>'
        )
    if medium.kind == "video":
        return (
            f'<figure><video controls loop muted preload="metadata" src="{link}"></video></figure>'
        )
    size = _size(medium)
    css = ' class="small"' if size and max(size) <= _SMALL else ""
    return f'<figure{css}><img loading="lazy" src="{link}" alt="">{_boxes(row, size)}</figure>'


def _link(medium: Medium, page: Path) -> str:
    folder = page.absolute().parent
    if isinstance(medium.source, Path):
        return quote(Path(os.path.relpath(medium.source.absolute(), folder)).as_posix())
    found = sniff(medium.source[:512])
    if len(medium.source) <= _INLINE:
        kind = _mime(medium.kind, found)
        return f"data:{kind};base64,{base64.b64encode(medium.source).decode()}"
    name = (
        f"{hash_medium(medium)}.{_mime(medium.kind, found).rpartition('/')[2].strip('*') or 'bin'}"
    )
    beside = folder / f"{page.stem}.media" / name
    beside.parent.mkdir(exist_ok=True)
    beside.write_bytes(medium.source)
    return quote(f"{page.stem}.media/{name}")


def _mime(kind: str, found: Format | None) -> str:
    names = {"mov": "mp4", "matroska": "webm", "MP3": "mpeg"}
    return f"{kind}/{names.get(found.name, found.name.lower())}" if found else f"{kind}/*"


def _size(medium: Medium) -> tuple[int, int] | None:
    """Return width and height of a picture as it is shown, None where it has no header to read."""
    try:
        encoded = read_encoded(medium, "")
        found = sniff(encoded[:512])
        if found is None or found.kind != "image":
            return None
        image = open_header(encoded, found.name)
        turned = image.getexif().get(_UPRIGHT, 1) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else image.size
    except (OSError, ValueError, SyntaxError, DataError):
        return None


def _boxes(row: Row, size: tuple[int, int] | None) -> str:
    """Draw the answer's boxes over a picture, in the space that the row names."""
    found = _found_boxes(row)
    scales: Mapping[str, Any] = {"norm1000": (1000, 1000), "unit": (1, 1), "pixel": size}
    view = scales.get(str(row.extra.get("coordinates", "pixel")))
    if view is None or not found:
        return ""
    drawn = "".join(
        f'<rect x="{x:g}" y="{y:g}" width="{max(0, right - x):g}" height="{max(0, bottom - y):g}"/>'
        for (x, y, right, bottom), _ in found
    )
    labels = "".join(
        f'<span style="left:{_percent(x, view[0])};top:{_percent(y, view[1])}">{text(label)}</span>'
        for (x, y, _, _), label in found
        if label
    )
    svg = f'<svg viewBox="0 0 {view[0]} {view[1]}" preserveAspectRatio="none">{drawn}</svg>'
    return svg + labels


def _percent(edge: float, extent: float) -> str:
    return f"{min(100.0, max(0.0, 100 * edge / extent)):.2f}%"


def _found_boxes(row: Row) -> list[tuple[tuple[float, ...], str]]:
    """Return the boxes that a row's answer means, with their labels."""
    names = {term.name for term in row.verifier}
    try:
        if "detection" in names:
            return [(tuple(item.box), item.label or "") for item in gold_detections(row.answer)]
        if any("box" in name for name in names):
            return [(tuple(box), "") for box in _plain_boxes(row)]
    except BadGold:
        return []
    return []


def _plain_boxes(row: Row) -> list[Any]:
    if isinstance(row.answer, list) and row.answer and isinstance(row.answer[0], list):
        return [box for box in row.answer if _is_box(box)]
    return [gold_box(row, gold_frame(row, spoken=None))]


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(edge, int | float) and not isinstance(edge, bool) for edge in value)
    )
