"""Values against the schema: every mistake at once, one line each, in the user's own keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mmrl.config.keys import (
    annotation_at,
    children,
    choices,
    holds_section,
    item_of,
    members,
    suggestion,
    type_text,
    variants,
)
from mmrl.config.section import Section
from mmrl.config.yaml12 import flow
from mmrl.schedule import Schedule

_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_WRITTEN = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    Path: "text",
    Schedule: "a schedule such as {0: 1, 0.5: 0.2}",
}

S = TypeVar("S", bound=Section)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """What is wrong with the value at a path (or with the section there)."""

    path: tuple[str, ...]
    text: str


def check(
    root: type[S], values: Mapping[str, Any], prefix: str = ""
) -> tuple[S | None, list[Mistake]]:
    """Validate values; `prefix` stands before the keys that a message suggests."""
    found = {mistake.path: mistake for mistake in _walk(root, root, values, (), prefix)}
    try:
        valid = root.model_validate(values)
    except ValidationError as error:
        for path, text in _grouped(root, values, error.errors(include_url=False)).items():
            if not any(
                known[: len(path)] == path or path[: len(known)] == known for known in found
            ):
                found[path] = Mistake(path=path, text=text)
        return None, list(found.values())
    return (None if found else valid), list(found.values())


def _walk(
    root: type[Section], annotation: Any, value: Any, path: tuple[str, ...], prefix: str
) -> Iterator[Mistake]:
    """Unknown keys, and values of a wrong type that pydantic would convert."""
    kinds = variants(annotation)
    if kinds and isinstance(value, Mapping):
        yield from _walk_variant(root, kinds, value, path, prefix)
        return
    known = children(annotation)
    if known and isinstance(value, Mapping):
        for key, inner in value.items():
            here = (*path, str(key))
            if key not in known and "<name>" not in known:
                yield Mistake(path=here, text=f"unknown key; {suggestion(root, here, prefix)}")
            else:
                yield from _walk(root, known.get(key, known.get("<name>")), inner, here, prefix)
    elif isinstance(value, list) and (item := item_of(annotation)) is not None:
        for index, inner in enumerate(value):
            yield from _walk(root, item, inner, (*path, str(index)), prefix)
    elif wanted := _misfit(annotation, value):
        yield Mistake(path=path, text=f"must be {wanted}, got {show(value)}")


def _walk_variant(
    root: type[Section],
    kinds: Mapping[str, type[Section]],
    value: Mapping[str, Any],
    path: tuple[str, ...],
    prefix: str,
) -> Iterator[Mistake]:
    """A section of several kinds: only the keys of its own kind may be given."""
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        found = _say_choice(tuple(kinds), kind) if "kind" in value else ""
        text = found or f"must be said: {', '.join(kinds)}"
        yield Mistake(path=(*path, "kind"), text=text)
        return
    fields = kinds[kind].model_fields
    for key, inner in value.items():
        here = (*path, str(key))
        holders = [name for name, section in kinds.items() if key in section.model_fields]
        if key in fields:
            yield from _walk(root, fields[key].annotation, inner, here, prefix)
        elif holders:
            group = ".".join(path)
            text = (
                f"only kind {' or '.join(holders)} has it, and the kind is {kind}; "
                f"{group}=NAME takes another file of configs/{path[-1]}/ for the whole section"
            )
            yield Mistake(path=here, text=text)
        else:
            yield Mistake(path=here, text=f"unknown key; {suggestion(root, here, prefix)}")


def _misfit(annotation: Any, value: Any) -> str:
    """What the value should have been, where its type is not that of the schema."""
    if value is None and _may_be_none(annotation):
        return ""
    if holds_section(annotation):
        return (
            ""
            if isinstance(value, Mapping | Section)
            else f"a section with the keys {', '.join(children(annotation) or ())}"
        )
    parts = members(annotation)
    if any(get_origin(part) is Literal for part in parts):
        return ""
    fits = {bool: (bool,), int: (int,), float: (int, float), str: (str,), Path: (str, Path)}
    if Schedule in parts and not isinstance(value, Mapping):
        fits[Schedule] = ()
    if not all(part in fits for part in parts):
        return ""
    if isinstance(value, bool) and bool not in parts:
        return _wanted(parts)
    if parts == (int,) and isinstance(value, float) and value.is_integer():
        return ""
    return "" if any(isinstance(value, fits[part]) for part in parts) else _wanted(parts)


def _may_be_none(annotation: Any) -> bool:
    return type(None) in get_args(annotation)


def _wanted(parts: tuple[Any, ...]) -> str:
    return " or ".join(_WRITTEN.get(part, type_text(part)) for part in parts)


def _grouped(
    root: type[Section], values: Mapping[str, Any], errors: list[ErrorDetails]
) -> dict[tuple[str, ...], str]:
    """One line per place: the alternatives of a union are joined."""
    found: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for error in errors:
        found.setdefault(_users_path(values, error), []).append(error)
    texts: dict[tuple[str, ...], str] = {}
    for path, here in found.items():
        ours = [error for error in here if error["type"] == "value_error"]
        texts[path] = "; or ".join(dict.fromkeys(_say(root, path, error) for error in ours or here))
    return texts


def _users_path(values: Any, error: ErrorDetails) -> tuple[str, ...]:
    """The keys that the user wrote: pydantic adds the names of the types that it tried."""
    path: list[str] = []
    here: Any = values
    for part in error["loc"]:
        here = dict(enumerate(here)) if isinstance(here, list) else here
        if isinstance(here, Mapping) and part in here:
            here = here[part]
        elif not (error["type"] == "missing" and part == error["loc"][-1]):
            continue
        path.append(str(part))
    return tuple(path)


def _say(root: type[Section], path: tuple[str, ...], error: ErrorDetails) -> str:
    """Pydantic's finding in our words."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "missing":
        return "required, and not given"
    if error["loc"][-1:] == ("[key]",):
        return f"the key {show(value)} must be text"
    if kind in _BOUNDS:
        word, limit = _BOUNDS[kind]
        return f"must be {word} {context[limit]:g}, got {show(value)}"
    if kind == "literal_error":
        return _say_choice(choices(annotation_at(root, path)), value)
    if kind in ("too_short", "too_long"):
        count = context.get("min_length", context.get("max_length"))
        word = "at least" if kind == "too_short" else "at most"
        return f"must hold {word} {count}, holds {context['actual_length']}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return f"must be letters, digits, '_', '-' and '.', got {show(value)}"
    if kind == "finite_number":
        return f"must be a finite number, got {show(value)}"
    wanted = {
        "tuple_type": "a list",
        "dict_type": "a mapping",
        "int_from_float": "an integer",
        "int_type": "an integer",
    }
    wanted |= {"float_type": "a number", "string_type": "text", "path_type": "text"}
    return (
        f"must be {wanted[kind]}, got {show(value)}"
        if kind in wanted
        else f"{error['msg']}, got {show(value)}"
    )


def _say_choice(known: tuple[str, ...], value: Any) -> str:
    close = get_close_matches(str(value), known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    listed = " or ".join(filter(None, (", ".join(known[:-1]), known[-1])))
    return f"must be {listed}, got {show(value)}{hint}"


def show(value: Any) -> str:
    """A value as YAML, cut where it is long."""
    text = repr(value) if isinstance(value, str) else flow(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def lines(
    mistakes: list[Mistake],
    name: Callable[[tuple[str, ...]], str],
    origin: Callable[[tuple[str, ...]], str],
) -> list[str]:
    """One line per mistake: the key, what is wrong with it, and where it was written."""
    found = []
    for mistake in mistakes:
        where = origin(mistake.path)
        key = name(mistake.path)
        found.append(f"{key + ': ' if key else ''}{mistake.text}{f' ({where})' if where else ''}")
    return list(dict.fromkeys(found))
