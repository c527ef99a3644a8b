"""Builders in the project's data_pipelines/ that make rows and media from a raw source.

A builder is a generator of rows as JSON objects. It writes media below `folder` and names them
relative to it; its other keyword arguments are the YAML `params`. The same arguments give the same
bytes.
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

from mmrl.errors import ConfigError
from mmrl.project import find_project, import_modules
from mmrl.registry import Registry, did_you_mean

Split = Literal["train", "heldout"]
Builder = Callable[..., Iterator[Mapping[str, Any]]]

GIVEN = ("folder", "seed", "split")
"""Arguments that the engine gives; the others are the user's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """A registered builder of rows."""

    name: str
    build: Builder
    file: Path

    @property
    def summary(self) -> str:
        """The first line of the builder's docstring."""
        return (inspect.getdoc(self.build) or "").partition("\n")[0]

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that a user can give, by name."""
        known = inspect.signature(self.build).parameters
        return {name: parameter for name, parameter in known.items() if name not in GIVEN}


_PIPELINES: Registry[Pipeline] = Registry(kind="pipeline", error=ConfigError)


def pipeline(build: Builder) -> Builder:
    """Register `build(folder, *, seed, split, ...)` as a pipeline under its own name.

    Args:
        build: A generator function. `folder` is an empty folder for media, `seed` an int, `split`
            is `train` or `heldout`; the two splits of a seed share no medium. What else it takes
            are the pipeline's params.
    """
    missing = [name for name in GIVEN if name not in inspect.signature(build).parameters]
    if missing:
        raise ConfigError(
            f"pipeline {build.__name__!r} does not take {', '.join(missing)}; add to its arguments"
        )
    file = Path(inspect.getfile(build))
    found = Pipeline(name=build.__name__, build=build, file=file)
    _PIPELINES.register(found.name, found, module=build.__module__, file=file)
    return build


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
    adapters = _adapters(found.build)
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
