"""KEY=VALUE arguments as a tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmrl.config.overrides import parse_overrides
from mmrl.errors import ConfigError


def nested(arguments: Sequence[str], *, texts: Sequence[str] = ("out",)) -> dict[str, Any]:
    """Make a tree of KEY=VALUE arguments; keys are split at their points.

    Args:
        arguments: As the command line has them.
        texts: Keys whose values are taken as they stand, such as paths.

    Raises:
        ConfigError: one line; an argument is no KEY=VALUE, or a key has two kinds of value.
    """
    tree: dict[str, Any] = {}
    for override in parse_overrides(arguments):
        *parents, name = override.path
        here = tree
        for parent in parents:
            here = here.setdefault(parent, {})
            if not isinstance(here, dict):
                raise ConfigError(f"{override.key}: {parent!r} has a value of its own already")
        plain = not parents and name in texts
        here[name] = override.text if plain else override.read(Any)
    return tree
