"""Builders in the project's data_pipelines/ that make rows and media from a raw source.

A builder is a generator of rows as JSON objects. It writes media below `folder` and names them
relative to it; its other keyword arguments are the YAML `params`. The same arguments give the same
bytes.

A builder that takes a folder of media (`in=FOLDER`) is a row function instead: it gets one file at
a time and gives its rows; see mmrl/data/medium_rows.py.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from mmrl.data.medium_rows import FOLDER_PARAMETERS, RowFunction, rows_from_folder
from mmrl.errors import ConfigError
from mmrl.project import find_project, import_modules
from mmrl.registry import Registry, did_you_mean
from mmrl.types import MediaKind

Split = Literal["train", "heldout"]
Builder = Callable[..., Iterator[Mapping[str, Any]]]

GIVEN = ("folder", "seed", "split", "source")
"""Arguments that the engine gives; the others are the user's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """A registered builder of rows."""

    name: str
    build: Builder
    file: Path
    kind: MediaKind | None = None
    """What the files of its folder are; None where it reads no folder of media."""
    rows_of: RowFunction | None = None
    """Its row function, where it reads a folder of media."""

    @property
    def summary(self) -> str:
        """The first line of the builder's docstring."""
        return (inspect.getdoc(self.build) or "").partition("\n")[0]

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that a user can give, by name."""
        known = inspect.signature(self.build).parameters
        own = {name: parameter for name, parameter in known.items() if name not in GIVEN}
        return own if self.kind is None else {**_folder_parameters(), **own}


_PIPELINES: Registry[Pipeline] = Registry(kind="pipeline", error=ConfigError)


def pipeline(build: Builder) -> Builder:
    """Register `build(folder, *, seed, split, ...)` as a pipeline under its own name.

    Args:
        build: A generator function. `folder` is an empty folder for media, `seed` an int, `split`
            is `train` or `heldout`; the two splits of a seed share no medium. What else it takes
            are the pipeline's params.
    """
    _check_arguments(build, ("folder", "seed", "split"))
    _register(Pipeline(name=build.__name__, build=build, file=Path(inspect.getfile(build))))
    return build


def medium_pipeline(kind: MediaKind) -> Callable[[RowFunction], RowFunction]:
    """Register `rows_of(source, folder, *, seed, ...)` as a pipeline that reads a folder of media.

    Args:
        kind: What it takes. The row function gets one `SourceFile` of that kind, writes media below
            `folder` and gives rows that name them relative to it; it raises a DataError where none
            can be made. What else it takes are the pipeline's params, besides FOLDER_PARAMETERS.
    """

    def register(rows_of: RowFunction) -> RowFunction:
        _check_arguments(rows_of, ("source", "folder", "seed"))

        @functools.wraps(rows_of)
        def build(
            folder: Path,
            *,
            seed: int,
            split: Split,
            on_file: Callable[[int, int], None] | None = None,
            **params: Any,
        ) -> Iterator[Mapping[str, Any]]:
            # A DataError in a row's place is reported with the other rows that are wrong.
            yield from rows_from_folder(  # pyright: ignore[reportReturnType]
                rows_of, kind, folder, seed=seed, split=split, params=params, on_file=on_file
            )

        file = Path(inspect.getfile(rows_of))
        name = rows_of.__name__
        _register(Pipeline(name=name, build=build, file=file, kind=kind, rows_of=rows_of))
        return rows_of

    return register


def find_pipeline(name: str, project: Path | None = None) -> Pipeline:
    """Return the pipeline of that name from the project's data_pipelines/.

    Raises:
        ConfigError: there is none of that name.
    """
    import_modules(find_project(project), "data_pipelines")
    return _PIPELINES.get(name)


def describe_pipelines(project: Path | None = None) -> list[Pipeline]:
    """Return all pipelines of the project, by name."""
    import_modules(find_project(project), "data_pipelines")
    return [_PIPELINES.get(name) for name in _PIPELINES.names()]


def check_params(
    name: str, params: Mapping[str, Any], project: Path | None = None
) -> dict[str, Any]:
    """Return the parameters of a pipeline with their types put right, without building anything.

    Raises:
        ConfigError: one line; the pipeline or a parameter is unknown or missing, or a value does
            not fit.
    """
    found = find_pipeline(name, project)
    adapters = _adapters(found.build) | (_folder_adapters() if found.kind else {})
    values = {}
    for key, value in params.items():
        if key not in found.parameters:
            raise ConfigError(
                f"pipeline {name!r} has no parameter {key!r}{did_you_mean(key, found.parameters)}; "
                f"it has: {', '.join(found.parameters) or 'none'}"
            )
        values[key] = _typed(adapters[key], value, f"pipeline {name!r}, parameter {key!r}")
    for key, parameter in found.parameters.items():
        if parameter.default is parameter.empty and key not in values:
            raise ConfigError(f"pipeline {name!r} needs the parameter {key!r}")
    return values


def parameter_docs(build: Builder) -> dict[str, str]:
    """Return what the builder's docstring says of each argument, on one line."""
    _, _, block = (inspect.getdoc(build) or "").partition("\nArgs:\n")
    found: dict[str, str] = {}
    if "source" in inspect.signature(build).parameters:
        found |= {key: text for key, (_, _, text) in FOLDER_PARAMETERS.items()}
    name = ""
    for line in block.split("\n"):
        if line.strip() and not line.startswith("    "):
            break
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = line.strip().partition(":")
            found[name] = text.strip()
        elif line.strip():
            found[name] += f" {line.strip()}"
    return found


def _register(found: Pipeline) -> None:
    _PIPELINES.register(found.name, found, module=found.build.__module__, file=found.file)


def _check_arguments(build: Callable[..., Any], needed: tuple[str, ...]) -> None:
    missing = [name for name in needed if name not in inspect.signature(build).parameters]
    if missing:
        raise ConfigError(
            f"pipeline {build.__name__!r} does not take {', '.join(missing)}; add to its arguments"
        )


def _folder_parameters() -> dict[str, Any]:
    """Return FOLDER_PARAMETERS as a signature would hold them; `in` cannot stand in one."""
    empty, kind = inspect.Parameter.empty, inspect.Parameter.POSITIONAL_ONLY
    return {
        name: inspect.Parameter(name, kind, default=empty if default is ... else default)
        for name, (_, default, _) in FOLDER_PARAMETERS.items()
    }


def _typed(adapter: TypeAdapter[Any], value: Any, at: str) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        problems = error.errors()
        # Of the alternatives of a union, the one whose container fits says most.
        nearest = [found for found in problems if found["type"] not in ("dict_type", "list_type")]
        problem = (nearest or problems)[0]
        messages = [problem["msg"]] if nearest else [found["msg"] for found in problems]
        inner = ".".join(_users_keys(value, problem["loc"]))
        place = f" at {inner!r}" if inner and problem["input"] != inner else ""
        expected = str(problem.get("ctx", {}).get("expected", ""))
        hint = did_you_mean(
            problem["input"],
            [word.strip("' ") for word in expected.replace(" or ", ",").split(",")],
        )
        raise ConfigError(
            f"{at}: {problem['input']!r} does not fit{place} ({' or '.join(messages)}){hint}"
        ) from error


def _users_keys(value: Any, path: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the user wrote: pydantic adds the names of the types that it tried."""
    keys = []
    for key in path:
        held: Any = dict(enumerate(value)) if isinstance(value, list) else value
        if isinstance(held, Mapping) and key in held:
            value = held[key]
            keys.append(str(key))
    return keys


@functools.cache
def _adapters(build: Builder) -> dict[str, TypeAdapter[Any]]:
    hints = typing.get_type_hints(build, include_extras=True)
    return {name: TypeAdapter(hints.get(name, Any)) for name in inspect.signature(build).parameters}


@functools.cache
def _folder_adapters() -> dict[str, TypeAdapter[Any]]:
    return {name: TypeAdapter(kind) for name, (kind, _, _) in FOLDER_PARAMETERS.items()}
