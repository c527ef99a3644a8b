"""Names for the things that a project brings: verifiers, data pipelines, benchmarks.

A name belongs to one file. A name that nobody registered is answered with the nearest one and with all of them.
"""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from mmrl.errors import UserError

T = TypeVar("T")


@dataclass(kw_only=True, slots=True)
class Registry(Generic[T]):
    """Values by name, each with the file that registered it."""

    kind: str
    """What a value is called in messages: `verifier`, `benchmark`."""
    error: type[UserError]
    _values: dict[str, T] = field(default_factory=dict)
    _files: dict[str, Path] = field(default_factory=dict)

    def register(self, name: str, value: T, file: Path) -> None:
        """Give `value` the name; the same file may register it again (a reload).

        Raises:
            UserError: another file has the name.
        """
        taken = self._files.get(name)
        if taken is not None and taken != file:
            raise self.error(
                f"{self.kind} {name!r} is defined twice, in {taken} and in {file}; rename one"
            )
        self._values[name] = value
        self._files[name] = file

    def get(self, name: str) -> T:
        """Return the value of that name.

        Raises:
            UserError: nobody registered it.
        """
        if name not in self._values:
            raise self.error(
                f"there is no {self.kind} {name!r}{did_you_mean(name, self._values)}; "
                f"there are: {', '.join(self.names()) or 'none'}"
            )
        return self._values[name]

    def names(self) -> list[str]:
        """Return the names in alphabetical order."""
        return sorted(self._values)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` for the nearest known word, or nothing.

    >>> did_you_mean("treshold", ["threshold", "weight"])
    ", did you mean 'threshold'?"
    """
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def load_file(file: Path) -> None:
    """Import one project file, so that its decorators register what it defines; once per process."""
    file = file.resolve()
    name = f"_mmrl_project.{file.parent.name}.{file.stem}.{abs(hash(str(file))):x}"
    if name in sys.modules:
        return
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


def load_folder(folder: Path) -> None:
    """Import every Python file of a project folder that does not start with an underscore."""
    for file in sorted(folder.glob("*.py")):
        if not file.name.startswith("_"):
            load_file(file)
