"""The KEY=VALUE arguments of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.config.keys import holds_section, members
from mmrl.config.yaml12 import parse
from mmrl.errors import ConfigError

_KEY = re.compile(r"[^\s=+~@]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Override:
    """One argument: the parts of its key, and the text after the first `=`."""

    path: tuple[str, ...]
    text: str

    @property
    def key(self) -> str:
        """The key as it was written."""
        return ".".join(self.path)

    def read(self, annotation: Any) -> Any:
        """The value: YAML, but bare text as it stands where the schema wants text or a path."""
        bare = self.text.strip()
        if (
            {*members(annotation)} <= {str, Path}
            and bare not in ("", "null", "~")
            and bare[0] not in "'\""
        ):
            return self.text
        try:
            return parse(self.text, self.key)
        except ConfigError as error:
            reason = str(error).partition(": ")[2]
            raise ConfigError(
                f"{self.key}: cannot read {self.text!r}: {reason} (command line)"
            ) from error

    def is_choice(self, annotation: Any) -> bool:
        """Whether the argument names a file for a whole section, as `model=tiny_omni` does."""
        return holds_section(annotation) and not self.text.lstrip().startswith("{")


def parse_overrides(arguments: Sequence[str]) -> list[Override]:
    """Split each argument at its first `=`. Raises ConfigError with a line per bad argument."""
    mistakes = [slip for argument in arguments if (slip := _slip(argument))]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    pairs = [argument.partition("=") for argument in arguments]
    return [Override(path=tuple(key.split(".")), text=text) for key, _, text in pairs]


def _slip(argument: str) -> str:
    key, equals, _ = argument.partition("=")
    if not equals:
        return f"{argument!r}: arguments are written KEY=VALUE, for example optim.lr=1e-6"
    if key[:1] in ("+", "~"):
        return f"{argument!r}: keys are written without {key[0]!r}; KEY=null takes an entry away"
    if not _KEY.fullmatch(key) or not all(key.split(".")):
        return f"{argument!r}: {key!r} is not a key; keys are written section.key"
    return ""
