"""The smoke form of a curriculum: `smoke=true` trains it on made-up rows with a tiny model.

What changes is written at the end of the curriculum's file under `smoke:`, over
configs/smoke/default.yaml. Changes lie above the stages' own values and below the command line:
`every` is for each stage that has the key, `sft`, `grpo` and `select` for stages of that kind,
`stages` for single ones; a stage there that the curriculum does not have goes before its first.
`data` and `model` take the place of what was there, all else merges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrl.config.compose import Tree
from mmrl.config.dump import leaves
from mmrl.config.keys import near, stage_groups, stage_kinds, unknown
from mmrl.config.schema import Stage
from mmrl.config.yaml12 import parse_file
from mmrl.errors import ConfigError
from mmrl.project import search_roots

_DEFAULT = "configs/smoke/default.yaml"
_REPLACED = ("data", "model")


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlay:
    """Changes to stages, later ones above earlier ones; none where `smoke=true` was not asked."""

    layers: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """Where they are written, and what stands there."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Of each round of a repeated stage: the name that it has in the file."""

    def choices(self, name: str) -> dict[str, str]:
        """The files that are chosen for sections of a stage, such as `model: tiny_omni`."""
        return {
            key: value
            for part in self._of(name)
            for key, value in part.values.items()
            if _is_choice(key, value)
        }

    def replaces(self, name: str, section: str) -> bool:
        """Whether what the curriculum says of a section is to go before files are read."""
        return section in _REPLACED and any(section in part.values for part in self._of(name))

    def lay(self, tree: Tree, name: str, root: type[Stage] | None) -> None:
        """Lay the changes of a stage over its values."""
        kind = next((kind for kind, known in stage_kinds().items() if known is root), None)
        if any("data" in part.values for part in self._of(name, kind)):
            tree.lay(("data",), {}, "smoke")
        for part in self._of(name, kind):
            for path, value in leaves(part.values):
                fits = part.own or root is None or unknown(root, path) is None
                if fits and not (len(path) == 1 and _is_choice(path[0], value)):
                    tree.lay(path, value, part.label)

    def _of(self, name: str, kind: str | None = None) -> Iterator[_Part]:
        """The parts that are for a stage, from the bottom up; files are chosen before its kind is
        known, and those of a kind choose none.
        """
        own = self.names.get(name, name)
        for label, values in self.layers:
            for key in ("every", kind):
                if key and key in values:
                    yield _Part(label=f"{label}: smoke.{key}", values=values[key])
            if entry := values.get("stages", {}).get(own):
                changes = {key: value for key, value in entry.items() if key != "stage"}
                yield _Part(label=f"{label}: smoke.stages.{own}", values=changes, own=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    label: str
    values: Mapping[str, Any]
    own: bool = False
    """For this stage alone: a key that it does not have is a mistake."""


def _is_choice(key: str, value: Any) -> bool:
    return key in stage_groups() and isinstance(value, str)


def take_overlay(tree: Tree, project: Path, *, wanted: bool, where: str) -> Overlay:
    """Take the `smoke:` section out of a run's values, and put its additional stages in front.

    Args:
        tree: The curriculum's values.
        project: Whose configs/ are read.
        wanted: Whether `smoke=true` was asked for.
        where: The file that holds the section, for messages.

    Raises:
        ConfigError: the section is wanted and not there, or holds what it cannot hold.
    """
    given = tree.values.pop("smoke", None)
    tree.labels = {path: label for path, label in tree.labels.items() if path[0] != "smoke"}
    if not wanted:
        return Overlay()
    if not isinstance(given, dict):
        raise ConfigError(f"smoke=true: {where} has no section 'smoke'")
    _check(given, where)
    stages = tree.values.get("stages")
    known = {**stages} if isinstance(stages, dict) else {}
    inner = {one for entry in known.values() for one in _inner(entry)}
    added = {
        name: {"stage": entry.get("stage")}
        for name, entry in given.get("stages", {}).items()
        if name not in known and name not in inner
    }
    for name, entry in added.items():
        if not isinstance(entry["stage"], str):
            have = near(name, [*known, *inner])
            raise ConfigError(f"{where}: smoke.stages.{name}: there is no such stage; {have}")
        tree.labels[("stages", name)] = f"{where}: smoke"
    tree.values["stages"] = {**added, **known}
    tree.lay(("smoke",), True, "command line")
    return Overlay(layers=(*_default(project), (where, given)))


def _check(given: Mapping[str, Any], where: str) -> None:
    kinds = ("every", *stage_kinds(), "stages")
    for key, values in given.items():
        if key not in kinds:
            raise ConfigError(f"{where}: smoke.{key}: unknown key; {near(key, [*kinds])}")
        entries = values.items() if key == "stages" and isinstance(values, dict) else ()
        wrong = [f"{key}.{name}" for name, entry in entries if not isinstance(entry, dict)]
        if not isinstance(values, dict) or wrong:
            at = wrong[0] if wrong else key
            raise ConfigError(f"{where}: smoke.{at}: must hold 'key: value' lines")


def _inner(entry: Any) -> list[str]:
    """The stages of an entry that is repeated as a whole."""
    stages = entry.get("stages") if isinstance(entry, dict) else None
    return [*stages] if isinstance(stages, dict) else []


def _default(project: Path) -> list[tuple[str, Mapping[str, Any]]]:
    for root in search_roots(project):
        if (root / _DEFAULT).is_file():
            values = parse_file(root / _DEFAULT, _DEFAULT)
            _check(values, _DEFAULT)
            return [(_DEFAULT, values)]
    return []
