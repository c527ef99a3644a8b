"""What the formats share: taking fields out of a record, and texts with places for media."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmrl.answer import as_text, extract
from mmrl.data.format import Misfit, Record
from mmrl.types import MediaKind, Medium, Row

PLURALS: Mapping[str, MediaKind] = {"images": "image", "videos": "video", "audios": "audio"}

MEDIUM = (str, Medium, Mapping)
"""What may stand where a record names a medium."""

_PLACE = re.compile("<(image|video|audio)>")
_NONE = object()


def take(record: Record, key: str, kind: Any = str, default: Any = _NONE) -> Any:
    """Take a field out of a record; null counts as missing.

    Args:
        record: Loses the field.
        key: Its name.
        kind: The type, or a tuple of types, that its value has.
        default: What a missing field is; without it a missing field is a Misfit.
    """
    value = record.pop(key, None)
    if value is None:
        if default is _NONE:
            raise Misfit(f"the field {key!r} is missing")
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind not in (bool, object)):
        raise Misfit(f"the field {key!r} holds a {type(value).__name__}")
    return value


def media_list(value: Any, key: str) -> list[Any]:
    """Return one medium, several or none as a list."""
    found = value if isinstance(value, list) else [] if value in (None, "") else [value]
    for item in found:
        if isinstance(item, bytes) or not isinstance(item, str | Medium | Mapping):
            raise Misfit(f"the field {key!r} holds a {type(item).__name__} where a path should be")
    return found


def place(text: str, media: Mapping[str, Sequence[Any]], *, first: bool = True) -> list[Record]:
    """Return the parts of a message: the text with its media in their places.

    Args:
        text: `<image>`, `<video>` and `<audio>` say where the media stand.
        media: By kind, in order.
        first: Put media of a kind that has no place in the text before the text.
    """
    left = {kind: list(items) for kind, items in media.items()}
    parts: list[Record] = []
    if first:
        for kind, items in left.items():
            if items and f"<{kind}>" not in text:
                parts += [{"type": kind, kind: items.pop(0)} for _ in range(len(items))]
    begin = 0
    for match in _PLACE.finditer(text):
        kind = match.group(1)
        if not left.get(kind):
            raise Misfit(f"more <{kind}> in the text than there are media")
        _add_text(parts, text[begin : match.start()])
        parts.append({"type": kind, kind: left[kind].pop(0)})
        begin = match.end()
    _add_text(parts, text[begin:])
    for kind, items in left.items():
        if items:
            raise Misfit(f"more media of kind {kind} than <{kind}> in the text")
    if not parts:
        raise Misfit("the question is empty")
    return parts


def before_text(media: Mapping[str, Sequence[Any]], text: str) -> list[Record]:
    """Return the parts of a message that shows its media before its text."""
    parts: list[Record] = [
        {"type": kind, kind: item} for kind, items in media.items() for item in items
    ]
    _add_text(parts, text)
    if not parts:
        raise Misfit("the question is empty")
    return parts


def unplace(content: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, list[Medium]]]:
    """Return a message as text with places for its media, and the media by kind.

    Raises:
        Misfit: the text itself holds such a place.
    """
    text = ""
    media: dict[str, list[Medium]] = {}
    for part in content:
        kind = part["type"]
        if kind == "text":
            if _PLACE.search(part["text"]):
                raise Misfit(f"its text holds {_PLACE.search(part['text']).group()!r}")  # pyright: ignore[reportOptionalMemberAccess]
            text += part["text"]
        else:
            text += f"<{kind}>"
            media.setdefault(kind, []).append(part[kind])
    return text, media


def question(row: Row, kinds: Sequence[str] = ("image", "video", "audio")) -> tuple[str, Any]:
    """Return the one message of a row as `unplace` does.

    Raises:
        Misfit: there are other messages, or media of other kinds.
    """
    if len(row.prompt) != 1:
        raise Misfit("its prompt has several messages")
    text, media = unplace(row.prompt[0]["content"])
    other = sorted(media.keys() - set(kinds))
    if other:
        raise Misfit(f"its prompt shows media of kind {other[0]}")
    return text, media


def media_first(row: Row) -> tuple[str, dict[str, list[Medium]]]:
    """Return the text and the media of a row whose one message shows all media before its text.

    Raises:
        Misfit: the prompt is made otherwise.
    """
    if len(row.prompt) != 1:
        raise Misfit("its prompt has several messages")
    content = row.prompt[0]["content"]
    kinds = [part["type"] for part in content]
    text = "".join(part["text"] for part in content if part["type"] == "text")
    if "text" in kinds and set(kinds[kinds.index("text") :]) != {"text"}:
        raise Misfit("a medium stands after its text")
    media: dict[str, list[Medium]] = {}
    for part in content:
        if part["type"] != "text":
            media.setdefault(part["type"], []).append(part[part["type"]])
    return text, media


def said_answer(text: str) -> str:
    """Return the answer in a solution: what is tagged or boxed, else all of it."""
    found = extract(text)
    return text.strip() if found is None else found


def tagged_answer(row: Row) -> str:
    """Return the row's answer as a solution says it."""
    return f"<answer>{as_text(row.answer)}</answer>"


def labelled(options: Sequence[str]) -> str:
    r"""Return options with their letters, a line each.

    >>> labelled(["red", "blue"])
    'A. red\nB. blue'
    """
    return "\n".join(f"{chr(65 + place)}. {option}" for place, option in enumerate(options))


def _add_text(parts: list[Record], text: str) -> None:
    if text:
        parts.append({"type": "text", "text": text})
