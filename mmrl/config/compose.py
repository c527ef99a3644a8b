"""Layers of values into one tree that remembers where each value came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmrl.config.dump import DEFAULT, is_branch, leaves
from mmrl.config.files import Layer
from mmrl.errors import ConfigError

_MISSING = "???"


@dataclass(kw_only=True, slots=True)
class Tree:
    """Nested values and, by path, where each came from; layers are laid over it in turn."""

    values: dict[str, Any] = field(default_factory=dict)
    labels: dict[tuple[str, ...], str] = field(default_factory=dict)

    def origin(self, path: tuple[str, ...]) -> str:
        """Where a value was written, or the section around it, or the values in it; or ``."""
        around = next(
            (path[:end] for end in range(len(path), 0, -1) if path[:end] in self.labels), None
        )
        if around is not None:
            return self.labels[around]
        inside = [label for known, label in self.labels.items() if known[: len(path)] == path]
        return ", ".join(dict.fromkeys(label for label in inside if label != DEFAULT))

    def lay(
        self, section: tuple[str, ...], values: Any, label: str | Callable[[tuple[str, ...]], str]
    ) -> None:
        """Lay a value at a path: mappings merge; lists, scalars and schedules replace."""
        if is_branch(values):
            for key, inner in values.items():
                self.lay((*section, key), inner, label)
        else:
            self._put(section, values, label if isinstance(label, str) else label(section))

    def lay_all(self, layers: Iterable[Layer]) -> None:
        """Lay whole files; an empty layer takes away the section it stands at."""
        for layer in layers:
            self.lay(layer.section, layer.values, layer.label)

    def _put(self, path: tuple[str, ...], value: Any, label: str) -> None:
        if not path:
            if value:
                raise ConfigError(f"{label}: must hold 'key: value' lines, got {value!r}")
            return
        here = self.values
        for part in path[:-1]:
            inner = here.get(part)
            if not isinstance(inner, dict):
                inner = here[part] = {}
            here = inner
        for known in [
            known
            for known in self.labels
            if known[: len(path)] == path or path[: len(known)] == known
        ]:
            del self.labels[known]
        here[path[-1]] = value
        self.labels[path] = label


def resolve(tree: Tree, context: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in `${...}`; `context` holds keys that may be referred to besides the tree's own.

    What is still `???` counts as not given.
    Raises ConfigError naming the first key whose reference leads nowhere.
    """
    if not any(
        isinstance(text, str) and "${" in text
        for _, value in leaves(tree.values)
        for text in _texts(value)
    ):
        return _given(tree.values)
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.create({**context, **tree.values})
        found: Any = OmegaConf.to_container(config, resolve=True)
    except (OmegaConfBaseException, RecursionError, ValueError) as error:
        raise ConfigError(_say(tree, error)) from error
    return _given({key: value for key, value in found.items() if key in tree.values})


def _texts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in _texts(inner)]
    return (
        [text for inner in value for text in _texts(inner)] if isinstance(value, list) else [value]
    )


def _given(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    return {key: _given(value) for key, value in values.items() if value != _MISSING}


def _say(tree: Tree, error: Exception) -> str:
    key = str(getattr(error, "full_key", "") or "")
    path = tuple(key.split("."))
    origin = tree.origin(path)
    given = next((value for known, value in leaves(tree.values) if known == path), "a reference")
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    where = f" ({origin})" if origin else ""
    return f"{key + ': ' if key else ''}cannot follow {given!r}: {text}{where}"
