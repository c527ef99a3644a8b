"""What keys there are, read off the schema: for messages, completion and `mmrl config keys`."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mmrl.config.schema import AnyStage, Run, Stage
from mmrl.config.section import Section
from mmrl.schedule import Schedule

_WORDS = {
    int: "integer",
    float: "number",
    str: "text",
    bool: "true or false",
    Path: "path",
    Schedule: "schedule",
}
_LIMITS = {
    "ge": "at least",
    "gt": "more than",
    "le": "at most",
    "lt": "less than",
    "min_length": "entries: at least",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key of the configuration, as `mmrl config keys` shows it."""

    path: str
    """Dotted; `<name>` stands for a name of the user's choice."""
    type: str
    range: str
    default: str
    """`required` when there is none."""
    doc: str
    choices: tuple[str, ...]


def stage_kinds() -> dict[str, type[Stage]]:
    """The schema of each kind of stage, by the value of its key `kind`."""
    kinds = members(AnyStage)
    return {
        choice: kind for kind in kinds for choice in get_args(kind.model_fields["kind"].annotation)
    }


def stage_groups() -> tuple[str, ...]:
    """Sections of a stage, each of which can be chosen as a file of configs/: `model=NAME`."""
    fields = {
        name: field.annotation
        for kind in stage_kinds().values()
        for name, field in kind.model_fields.items()
    }
    return tuple(name for name, annotation in fields.items() if holds_section(annotation))


def run_groups() -> tuple[str, ...]:
    """Sections that belong to the whole run."""
    return tuple(name for name, field in Run.model_fields.items() if section_of(field.annotation))


def members(annotation: Any) -> tuple[Any, ...]:
    """The types that a value may have, without None."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(
            inner
            for part in get_args(annotation)
            for inner in members(part)
            if inner is not type(None)
        )
    return (annotation,)


def section_of(annotation: Any) -> type[Section] | None:
    """The section that stands under a key, if one does."""
    found = [
        part for part in members(annotation) if isinstance(part, type) and issubclass(part, Section)
    ]
    return found[0] if len(found) == 1 else None


def variants(annotation: Any) -> dict[str, type[Section]]:
    """The sections of a union by their value of `kind`; none where there is at most one section."""
    found = [
        part for part in members(annotation) if isinstance(part, type) and issubclass(part, Section)
    ]
    if len(found) < 2:
        return {}
    return {
        choice: part for part in found for choice in get_args(part.model_fields["kind"].annotation)
    }


def holds_section(annotation: Any) -> bool:
    """Whether a section stands under a key, of one kind or of several."""
    return section_of(annotation) is not None or bool(variants(annotation))


def children(annotation: Any) -> dict[str, Any] | None:
    """The keys under a value with their types; `<name>` for any; None where nothing is fixed.

    A section of several kinds has the keys of all of them.
    """
    if kinds := variants(annotation):
        found: dict[str, Any] = {"kind": Literal[tuple(kinds)]}
        for section in kinds.values():
            for name, field in section.model_fields.items():
                found.setdefault(name, field.annotation)
        return found
    if section := section_of(annotation):
        return {name: field.annotation for name, field in section.model_fields.items()}
    for part in members(annotation):
        if get_origin(part) is dict and get_args(part)[1] is not Any:
            return {"<name>": get_args(part)[1]}
        if part is Any or part is Schedule or get_origin(part) is dict:
            return None
    return {}


def item_of(annotation: Any) -> Any:
    """The type of the entries of a list, or None."""
    found = [get_args(part)[0] for part in members(annotation) if get_origin(part) is tuple]
    return found[0] if found else None


def unknown(root: type[Section], path: tuple[str, ...]) -> tuple[str, ...] | None:
    """The part of `path` up to the first key that the schema does not have, or None."""
    annotation: Any = root
    for index, part in enumerate(path):
        known = children(annotation)
        if known is None:
            return None
        if part not in known and "<name>" not in known:
            return path[: index + 1]
        annotation = known[part] if part in known else known["<name>"]
    return None


def named_defaults(root: type[Section], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Named entries that are there from the start, such as `rewards.terms.accuracy`."""
    found: list[tuple[str, ...]] = []
    for name, field in root.model_fields.items():
        if inner := section_of(field.annotation):
            found += named_defaults(inner, (*path, name))
        elif "<name>" in (children(field.annotation) or ()) and not field.is_required():
            found += [(*path, name, key) for key in field.get_default(call_default_factory=True)]
    return found


def without_removed(annotation: Any, values: Any) -> Any:
    """Leave out null entries under names of the user's choice: that is how one is taken away."""
    known = children(annotation)
    if not known or not isinstance(values, dict):
        return values
    kept = {
        key: value for key, value in values.items() if value is not None or "<name>" not in known
    }
    return {
        key: without_removed(known.get(key, known.get("<name>")), value)
        for key, value in kept.items()
    }


def annotation_at(root: type[Section], path: tuple[str, ...]) -> Any:
    """The type of the value at `path`, which the schema must have; `Any` where nothing is fixed."""
    annotation: Any = root
    for part in path:
        if item := item_of(annotation):
            annotation = item
            continue
        known = children(annotation)
        annotation = Any if known is None else known.get(part, known.get("<name>", Any))
    return annotation


def suggestion(root: type[Section], path: tuple[str, ...], prefix: str = "") -> str:
    """Say what was probably meant by a path that the schema does not have, or what there is."""
    *parents, name = wrong = unknown(root, path) or path
    known = children(annotation_at(root, tuple(parents))) or {}
    everywhere = {
        key.path: key.path.rpartition(".")[2] for key in walk(root) if "<name>" not in key.path
    }
    if near := get_close_matches(name, known, n=1):
        meant = (*parents, near[0], *path[len(wrong) :])
        meant = meant if unknown(root, meant) is None else meant[: len(wrong)]
        return f"did you mean '{prefix}{'.'.join(meant)}'?"
    if same := [whole for whole, last in everywhere.items() if last == name]:
        return f"did you mean '{prefix}{same[0]}'?"
    if near := get_close_matches(name, everywhere.values(), n=1, cutoff=0.75):
        whole = next(whole for whole, last in everywhere.items() if last == near[0])
        return f"did you mean '{prefix}{whole}'?"
    return f"there are: {', '.join(sorted(known))}" if known else "it holds no keys"


def near(name: str, names: list[str]) -> str:
    """Say which of `names` was probably meant, and which there are."""
    close = (
        get_close_matches(name, names, n=1)
        or [known for known in names if known.split("/")[-1] == name][:1]
    )
    have = f"there are: {', '.join(names)}" if names else "there are none"
    return f"did you mean {close[0]!r}? ({have})" if close else have


def walk(root: type[Section], prefix: str = "") -> Iterator[Key]:
    """Every key of a section that holds a value of its own, in the order of the schema."""
    for name, field in root.model_fields.items():
        yield from _walk_field(f"{prefix}{name}", field)


def _walk_field(path: str, field: FieldInfo) -> Iterator[Key]:
    if kinds := variants(field.annotation):
        yield from _walk_variants(path, field, kinds)
        return
    known = children(field.annotation)
    named = (known or {}).get("<name>")
    inner = section_of(field.annotation) or section_of(named)
    if inner:
        yield from walk(inner, f"{path}.<name>." if named else f"{path}.")
    elif named is None or len(members(named)) == 1:
        yield Key(
            path=path,
            type=type_text(field.annotation),
            range=range_text(field),
            default=default_text(field),
            doc=_line(field.description),
            choices=choices(field.annotation),
        )


def _walk_variants(path: str, field: FieldInfo, kinds: dict[str, type[Section]]) -> Iterator[Key]:
    """The key `kind`, then the keys of each kind, of which the meaning says whose they are."""
    default = getattr(field.default, "kind", None)
    yield Key(
        path=f"{path}.kind",
        type=" | ".join(kinds),
        range="",
        default="required" if default is None else default,
        doc=" ".join(
            f"{kind}: {' '.join((of.__doc__ or '').split())}" for kind, of in kinds.items()
        ),
        choices=tuple(kinds),
    )
    for kind, section in kinds.items():
        for key in walk(section, f"{path}."):
            if key.path != f"{path}.kind":
                yield replace(key, doc=f"({kind}) {key.doc}".rstrip())


def _line(doc: str | None) -> str:
    return " ".join((doc or "").split())


def choices(annotation: Any) -> tuple[str, ...]:
    """The values that a key is restricted to, if it is; those of the entries for a list."""
    found: list[str] = []
    for part in members(annotation):
        if get_origin(part) is Literal:
            found += map(str, get_args(part))
        elif part is bool:
            found += ("true", "false")
        elif get_origin(part) is tuple:
            found += choices(get_args(part)[0])
    return tuple(found)


def type_text(annotation: Any) -> str:
    """Describe a type in words."""
    words = []
    for part in members(annotation):
        if get_origin(part) is Literal:
            words.append(" | ".join(map(str, get_args(part))))
        elif get_origin(part) is tuple:
            words.append(f"list of {type_text(get_args(part)[0])}")
        elif get_origin(part) is dict:
            words.append("mapping")
        else:
            words.append(_WORDS.get(part, getattr(part, "__name__", str(part))))
    return " or ".join(words)


def range_text(field: FieldInfo) -> str:
    """Describe a key's limits in words."""
    limits = [
        f"{word} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, word in _LIMITS.items()
        if getattr(bound, name, None) is not None
    ]
    return ", ".join(limits)


def default_text(field: FieldInfo) -> str:
    """Write a key's default as YAML."""
    from mmrl.config.dump import plain
    from mmrl.config.yaml12 import flow

    if field.default is not PydanticUndefined:
        return flow(plain(field.default))
    return flow(plain(field.default_factory())) if field.default_factory else "required"  # type: ignore[call-arg]
