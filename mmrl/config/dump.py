"""A resolved run as YAML that `load_resolved` reads back, with or without each value's origin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mmrl.config.schema import Run
from mmrl.config.yaml12 import flow
from mmrl.schedule import Schedule

DEFAULT = "schema default"


def plain(value: Any) -> Any:
    """Turn sections, paths, tuples and schedules into what YAML has."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump())
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Schedule):
        return value.given()
    return str(value) if isinstance(value, Path) else value


def leaves(
    values: Mapping[Any, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that is not itself a mapping with text keys, with its path."""
    for key, value in values.items():
        if is_branch(value):
            yield from leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value


def is_branch(value: Any) -> bool:
    """Whether a value merges key by key: not if it is empty or has number keys (a schedule)."""
    return isinstance(value, Mapping) and not all(isinstance(key, int | float) for key in value)


def dump_run(run: Run, provenance: Mapping[str, str] | None = None) -> str:
    """Write every key of a run as YAML, with its origin as a comment if `provenance` has it."""
    lines = list(_lines(plain(run), (), provenance or {}))
    width = min(max(len(line) for line, _ in lines), 72)
    return "".join(
        f"{line:<{width}}  # {origin}\n" if origin else f"{line}\n" for line, origin in lines
    )


def _lines(
    values: Mapping[str, Any], path: tuple[str, ...], provenance: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        inner = (*path, str(key))
        head = f"{'  ' * len(path)}{flow(key)}:"
        if is_branch(value):
            yield head, ""
            yield from _lines(value, inner, provenance)
        else:
            yield f"{head} {flow(value)}", provenance.get(".".join(inner), "")
