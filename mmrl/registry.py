"""Names for the things that a project brings: verifiers, data pipelines, benchmarks.

A name belongs to one file. A name that nobody registered is answered with the nearest one and with
all of them.
"""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from mmrl.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry(Generic[T]):
    value: T
    module: str
    file: Path


@dataclass(kw_only=True, slots=True)
class Registry(Generic[T]):
    """Values by name, each with the module that registered it; values of unloaded modules do
    not count.
    """

    kind: str
    """What a value is called in messages: `verifier`, `benchmark`."""
    error: type[UserError]
    _entries: dict[str, _Entry[T]] = field(default_factory=dict)

    def register(self, name: str, value: T, *, module: str, file: Path) -> None:
        """Give `value` the name; the same module may register it again (a reload).

        Raises:
            UserError: another module has the name.
        """
        taken = self._entries.get(name)
        if taken is not None and taken.module != module and _is_loaded(taken):
            raise self.error(
                f"{self.kind} {name!r} is defined twice, in {taken.file} and in {file}; rename one"
            )
        self._entries[name] = _Entry(value=value, module=module, file=file)

    def get(self, name: str) -> T:
        """Return the value of that name.

        Raises:
            UserError: nobody registered it.
        """
        entry = self._entries.get(name)
        if entry is None or not _is_loaded(entry):
            known = self.names()
            raise self.error(
                f"there is no {self.kind} {name!r}{did_you_mean(name, known)}; "
                f"there are: {', '.join(known) or 'none'}"
            )
        return entry.value

    def names(self) -> list[str]:
        """Return the names in alphabetical order."""
        return sorted(name for name, entry in self._entries.items() if _is_loaded(entry))


def _is_loaded(entry: _Entry[Any]) -> bool:
    """Tell whether the module is still there; another project's modules leave when projects
    change.
    """
    module = sys.modules.get(entry.module)
    return module is not None and getattr(module, "__file__", None) in (None, str(entry.file))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` for the nearest known word, or nothing.

    >>> did_you_mean("treshold", ["threshold", "weight"])
    ", did you mean 'threshold'?"
    """
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def load_file(file: Path) -> None:
    """Import one file by its path, so that its decorators register what it defines.

    For files that stand outside a project; the files of a project are imported by `mmrl.project`.
    """
    name = f"_mmrl_file_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
