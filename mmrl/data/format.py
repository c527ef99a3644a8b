"""Other people's data formats: each one a file that reads their records as rows and writes them.

A format is registered by a file in `mmrl/data/formats/` or in a project's `data_pipelines/`. Its
reader takes out of a record what it knows; what it leaves goes into the row's `extra`. What cannot
be said in the other format is a `Misfit`, never a loss in silence.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mmrl.errors import ConfigError
from mmrl.project import find_project, import_modules
from mmrl.registry import Registry, did_you_mean
from mmrl.types import Row

Record = dict[str, Any]

KEPT = "mmrl"
"""Field of a written record: JSON text of what a row says and the format has no field for."""


class Misfit(Exception):
    """A record has no place in the other format. The message says why, without naming the record,
    so that the same reason can be counted.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a record comes from."""

    name: str
    """The file's name without its suffix: the row's source where the record names none."""
    number: int
    """The record's number in the file, from 1 on: the row's id where the record has none."""
    folder: Path = Path()
    """Where the record's media paths start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """How records of a kind are read as rows, and written."""

    name: str
    summary: str
    """One line: whose data it is, and in which files it comes."""
    read: Callable[..., Record]
    """`read(record, origin, *, ...)` takes known fields out of the record and returns a row as its
    JSON object; `id`, `source` and `extra` may be missing. Its other arguments are the user's.
    """
    write: Callable[[Row], Record] | None = None
    """Returns a record in which media stand as `Medium`; None where only reading makes sense."""
    suffixes: Sequence[str]
    """Files that it comes in, the usual one first."""
    schema: Callable[[], Any] | None = None
    """The Arrow schema of its parquet files."""


_FORMATS: Registry[Format] = Registry(kind="format", error=ConfigError)


def register_format(found: Format) -> Format:
    """Register a format under its name, for the file that calls this."""
    module = inspect.getmodule(found.read)
    file = Path(inspect.getfile(found.read))
    _FORMATS.register(found.name, found, module=module.__name__ if module else "", file=file)
    return found


def find_format(name: str, project: Path | None = None) -> Format:
    """Return the format of that name.

    Raises:
        ConfigError: there is none.
    """
    _load(project)
    return _FORMATS.get(name)


def describe_formats(project: Path | None = None) -> list[Format]:
    """Return all formats, by name."""
    _load(project)
    return [_FORMATS.get(name) for name in _FORMATS.names()]


def reader_parameters(found: Format) -> dict[str, inspect.Parameter]:
    """Return the parameters of a format's reader that a user can give, by name."""
    known = inspect.signature(found.read).parameters.values()
    return {given.name: given for given in known if given.kind is given.KEYWORD_ONLY}


def check_reader_params(found: Format, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reader's parameters with their types put right.

    Raises:
        ConfigError: one is unknown, or its value does not fit.
    """
    known = reader_parameters(found)
    values = {}
    for key, value in params.items():
        if key not in known:
            there = ", ".join(known) or "none"
            hint = did_you_mean(key, known)
            raise ConfigError(
                f"{key}: format {found.name!r} does not take it{hint}; it has {there}"
            )
        try:
            values[key] = _adapters(found.read)[key].validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise ConfigError(f"{key}: {value!r} does not fit ({problem})") from error
    return values


def _load(project: Path | None) -> None:
    package = importlib.import_module("mmrl.data.formats")
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package.__name__}.{module.name}")
    import_modules(find_project(project), "data_pipelines")


@functools.cache
def _adapters(read: Callable[..., Record]) -> dict[str, TypeAdapter[Any]]:
    hints = typing.get_type_hints(read)
    return {name: TypeAdapter(hints.get(name, Any)) for name in inspect.signature(read).parameters}
