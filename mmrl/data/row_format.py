"""The row format: one JSON object to one `Row`. Nothing is guessed, dropped or decoded here.

Relative media paths start at the folder of the data file and may not leave it unless the caller
allows it, so that a data folder can be moved as a whole; absolute paths are taken as they are; URLs
are refused. Nothing of a file that a row names can come out through the row: it is only ever opened
by a media decoder that knows its first bytes.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from mmrl.errors import DataError
from mmrl.registry import did_you_mean
from mmrl.types import MediaKind, Medium, Row, VerifierTerm

KINDS = get_args(MediaKind)
REQUIRED = ("id", "source", "prompt", "answer", "verifier")
OPTIONAL = ("reward", "difficulty", "response", "extra", "coordinates")
SPACES = ("pixel", "norm1000", "unit")

_ROLES = ("system", "user", "assistant")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:", re.ASCII)


def parse_row(raw: Any, *, where: str, folder: Path, outside: bool = False) -> Row:
    """Make a row of one JSON object.

    Args:
        raw: The object as the JSON or Arrow reader gives it.
        where: File and line, for messages.
        folder: Where relative media paths start.
        outside: Allow relative media paths that leave the folder through `..`.

    Raises:
        DataError: one line with the place, the row's id, what is wrong and what to do.
    """
    if not isinstance(raw, Mapping):
        raise DataError(f"{where}: {_found(raw)} where a row, a JSON object, should stand")
    row_id = raw.get("id")
    at = f"{where}: row {row_id}" if isinstance(row_id, str) and row_id else where
    _check_keys(raw, REQUIRED, OPTIONAL, at, "a row")
    extra = _mapping(raw.get("extra", {}), f"{at}: extra")
    if "coordinates" in raw:
        extra["coordinates"] = _one_of(raw["coordinates"], SPACES, f"{at}: coordinates")
    return Row(
        id=_word(raw["id"], f"{at}: id"),
        source=_word(raw["source"], f"{at}: source"),
        prompt=_prompt(raw["prompt"], f"{at}: prompt", folder, outside),
        answer=_answer(raw["answer"], f"{at}: answer"),
        verifier=_terms(raw["verifier"], f"{at}: verifier"),
        reward=_weights(raw.get("reward", {}), f"{at}: reward"),
        difficulty=_difficulty(raw.get("difficulty"), f"{at}: difficulty"),
        response=_response(raw.get("response"), f"{at}: response"),
        extra=extra,
        where=where,
    )


def without_nulls(value: Any) -> Any:
    """Leave out the keys that Arrow filled with None, however deep they stand."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _found(value: Any) -> str:
    """Say what a value is, in JSON's words and short."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "a truth value",
        type(None): "null",
    }
    if type(value) in (int, float):
        return f"the number {value}"
    return names.get(type(value), f"a {type(value).__name__}")


def _check_keys(
    raw: Mapping[str, Any], required: Sequence[str], optional: Sequence[str], at: str, what: str
) -> None:
    known = (*required, *optional)
    for key in raw:
        if key not in known:
            hint = "; other facts go into 'extra'" if what == "a row" else ""
            if key in ("images", "videos", "audios", *KINDS) and what == "a row":
                hint = "; media stand in the prompt, as parts"
            raise DataError(f"{at}: {what} has no key {key!r}{did_you_mean(key, known)}{hint}")
    missing = [key for key in required if key not in raw]
    if missing:
        raise DataError(f"{at}: {what} needs {', '.join(map(repr, missing))}, which is missing")


def _text(value: Any, at: str) -> str:
    """Return a text that can be written and tokenized."""
    if not isinstance(value, str):
        raise DataError(f"{at}: {_found(value)} where a text should stand")
    if "\0" in value:
        raise DataError(f"{at}: holds a NUL character; remove it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{at}: holds half a character (a lone surrogate); repair the text"
        ) from error
    return value


def _word(value: Any, at: str) -> str:
    if not _text(value, at).strip():
        raise DataError(f"{at}: is empty; give it a text")
    return value


def _one_of(value: Any, allowed: Sequence[str], at: str) -> str:
    if value not in allowed:
        shown = repr(value) if isinstance(value, str) else _found(value)
        raise DataError(
            f"{at}: {shown} is none of {', '.join(allowed)}{did_you_mean(value, allowed)}"
        )
    return value


def _mapping(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{at}: {_found(value)} where an object should stand")
    return dict(value)


def _prompt(value: Any, at: str, folder: Path, outside: bool) -> tuple[dict[str, Any], ...]:
    if isinstance(value, str):
        raise DataError(f'{at}: a text; write [{{"role": "user", "content": ...}}]')
    if not isinstance(value, Sequence) or not value:
        raise DataError(
            f"{at}: {_found(value) if value else 'empty'} where a list of messages should stand"
        )
    messages = tuple(
        _message(message, f"{at}[{index}]", folder, outside) for index, message in enumerate(value)
    )
    if messages[-1]["role"] != "user":
        raise DataError(
            f"{at}: the last message is the {messages[-1]['role']}'s; it must be the user's"
        )
    return messages


def _message(value: Any, at: str, folder: Path, outside: bool) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{at}: {_found(value)} where a message, an object, should stand")
    value = {key: item for key, item in value.items() if item is not None}
    _check_keys(value, ("role", "content"), (), at, "a message")
    content = value["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, Sequence) or not parts:
        raise DataError(
            f"{at}.content: {_found(parts) if parts else 'empty'}; write a text or a list of parts"
        )
    return {
        "role": _one_of(value["role"], _ROLES, f"{at}.role"),
        "content": [
            _part(part, f"{at}.content[{index}]", folder, outside)
            for index, part in enumerate(parts)
        ],
    }


def _part(value: Any, at: str, folder: Path, outside: bool) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{at}: {_found(value)} where a part, an object, should stand")
    value = {key: item for key, item in value.items() if item is not None}
    if "type" not in value:
        raise DataError(f"{at}: a part needs 'type', one of text, {', '.join(KINDS)}")
    kind = _one_of(value["type"], ("text", *KINDS), f"{at}.type")
    _check_keys(value, ("type", kind), (), at, f"a part of type {kind!r}")
    if kind == "text":
        return {"type": "text", "text": _text(value["text"], f"{at}.text")}
    return {
        "type": kind,
        kind: _medium(cast(MediaKind, kind), value[kind], f"{at}.{kind}", folder, outside),
    }


def _medium(kind: MediaKind, value: Any, at: str, folder: Path, outside: bool) -> Medium:
    if isinstance(value, Mapping):
        value = {key: item for key, item in value.items() if item is not None}
        _check_keys(value, (), ("bytes", "path"), at, f"an {kind} from parquet")
        if "bytes" in value:
            if not isinstance(value["bytes"], bytes):
                raise DataError(f"{at}.bytes: {_found(value['bytes'])} where bytes should stand")
            return Medium(kind=kind, source=value["bytes"])
        value = value.get("path")
    if not isinstance(value, str) or not value:
        found = "an empty text" if value == "" else _found(value)
        raise DataError(f"{at}: {found} where the path of a file should stand")
    return Medium(kind=kind, source=_path(_text(value, at), at, folder, outside))


def _path(value: str, at: str, folder: Path, outside: bool) -> Path:
    if _URL.match(value):
        raise DataError(f"{at}: {value[:80]!r} is a URL; download the file and give its path")
    path = Path(value)
    inside = os.path.normpath(value).split(os.sep, 1)[0] != os.pardir
    if not (path.is_absolute() or inside or outside):
        raise DataError(
            f"{at}: {value!r} leaves the data file's folder; give the file's whole path"
        )
    return folder / path


def _answer(value: Any, at: str) -> Any:
    if value is None:
        raise DataError(f'{at}: null; where a verifier needs no gold answer, write ""')
    if isinstance(value, str):
        return _text(value, at)
    return value


def _terms(value: Any, at: str) -> tuple[VerifierTerm, ...]:
    if isinstance(value, str | Mapping):
        return (_term(value, at),)
    if not isinstance(value, Sequence) or not value:
        raise DataError(
            f"{at}: {_found(value) if value else 'empty'}; write the name of a verifier"
        )
    return tuple(_term(term, f"{at}[{index}]") for index, term in enumerate(value))


def _term(value: Any, at: str) -> VerifierTerm:
    if isinstance(value, str):
        return VerifierTerm(name=_word(value, at))
    value = _mapping(value, at)
    _check_keys(value, ("name",), ("params", "weight"), at, "a verifier")
    weight = _number(value.get("weight", 1.0), f"{at}.weight")
    if weight <= 0:
        raise DataError(
            f"{at}.weight: {weight:g}; a verifier that counts for nothing should be left out"
        )
    params = _mapping(value.get("params", {}), f"{at}.params")
    return VerifierTerm(name=_word(value["name"], f"{at}.name"), params=params, weight=weight)


def _weights(value: Any, at: str) -> dict[str, float]:
    return {key: _number(weight, f"{at}.{key}") for key, weight in _mapping(value, at).items()}


def _number(value: Any, at: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        raise DataError(f"{at}: {_found(value)} where a finite number should stand")
    try:
        return float(value)
    except OverflowError as error:
        raise DataError(f"{at}: a number beyond the range of a float") from error


def _difficulty(value: Any, at: str) -> float | None:
    return None if value is None else _number(value, at)


def _response(value: Any, at: str) -> str | None:
    return None if value is None else _word(value, at)
