"""The files of configs/: groups, options and `defaults:` lists, in Hydra's dialect.

A file of configs/model/ may have a section `media:` with what suits the model; it lies below what
the stage and its user say of their media.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.config.keys import near, run_groups, stage_groups
from mmrl.config.yaml12 import parse_file
from mmrl.errors import ConfigError
from mmrl.project import default_project, search_roots

ENTRIES = ("stage", "curriculum")
COMMAND_LINE = "command line"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """Values to be laid over those before them, at a section (`()` is the top)."""

    label: str
    section: tuple[str, ...]
    values: Mapping[str, Any]
    lowest: bool = False
    """Lies below all layers that are not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Choice:
    """A `group: name` of a `defaults:` list; only the last one of a group counts."""

    group: str
    layers: list[Layer]


def groups() -> tuple[str, ...]:
    """What can be chosen as a file: the entries and the sections."""
    return tuple(dict.fromkeys((*ENTRIES, *stage_groups(), *run_groups())))


def options(project: Path, group: str) -> list[str]:
    """The files of a group, by the name under which they are chosen."""
    found = set()
    for root in search_roots(project):
        folder = root / "configs" / group
        found |= {
            path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")
        }
    return sorted(found)


def flatten(
    project: Path, group: str, name: str, chosen: Mapping[str, str], where: str
) -> list[Layer]:
    """Read a stage or curriculum file and what its `defaults:` name, as layers from the bottom up.

    `chosen` replaces the choice of a group. Where no `defaults:` choose that group, its layers come
    last, above an empty section that takes away what stood there. `where` says who asked, for
    messages.
    """
    reader = _Reader(project=project, chosen=chosen)
    parts = reader.read(group, name, where, ())
    last = {part.group: part for part in parts if isinstance(part, _Choice)}
    layers: list[Layer] = []
    for part in parts:
        if isinstance(part, Layer):
            layers.append(part)
        elif last[part.group] is part:
            layers += part.layers
    for other, option in chosen.items():
        if other not in last:
            layers += choice_layers(project, other, option)
    return sorted(layers, key=lambda layer: not layer.lowest)


def choice_layers(project: Path, group: str, option: str) -> list[Layer]:
    """The layers of `group=option`, in place of whatever stood in that section."""
    reader = _Reader(project=project, chosen={})
    nothing = Layer(label=COMMAND_LINE, section=(group,), values={})
    return [nothing, *reader.choose(group, option, f"{group}={option}").layers]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reader:
    project: Path
    chosen: Mapping[str, str]

    def read(
        self, group: str, name: str, where: str, trail: tuple[str, ...]
    ) -> list[Layer | _Choice]:
        """One file with its defaults in place."""
        path, label = self.find(group, name, where)
        if label in trail:
            raise ConfigError(
                f"{label}: 'defaults:' go in a circle: {' -> '.join((*trail, label))}"
            )
        values = parse_file(path, label)
        body = {key: value for key, value in values.items() if key != "defaults"}
        section = () if group in ENTRIES else (group,)
        media = body.pop("media", None) if group == "model" else None
        own = [Layer(label=label, section=section, values=body)] if body else []
        if media is not None:
            own += [Layer(label=label, section=("media",), values=media, lowest=True)]
        entries = _entries(values.get("defaults") or [], label)
        parts: list[Layer | _Choice] = []
        for entry in entries if "_self_" in entries else [*entries, "_self_"]:
            parts += (
                own
                if entry == "_self_"
                else self.default(entry, group, name, label, (*trail, label))
            )
        return parts

    def default(
        self,
        entry: str | tuple[str, str],
        group: str,
        name: str,
        label: str,
        trail: tuple[str, ...],
    ) -> list[Layer | _Choice]:
        """What one line of a `defaults:` list stands for."""
        where = f"{label}: defaults"
        if isinstance(entry, str) and not entry.startswith("/"):
            folder = name.rpartition("/")[0]
            return self.read(group, f"{folder}/{entry}" if folder else entry, where, trail)
        other, _, option = (
            entry[1:].partition("/") if isinstance(entry, str) else (entry[0], "", entry[1])
        )
        if other == group:
            return self.read(group, option, where, trail)
        known = {"stage": stage_groups(), "curriculum": run_groups()}.get(group, ())
        if other not in known:
            have = near(other, list(known))
            raise ConfigError(f"{where}: {other!r} cannot be chosen in configs/{group}/; {have}")
        return [self.choose(other, option, where)]

    def choose(self, group: str, option: str, where: str) -> _Choice:
        """The layers of a group's file, unless another file of the group is asked for."""
        if group in self.chosen:
            option, where = self.chosen[group], f"{group}={self.chosen[group]}"
        layers = [part for part in self.read(group, option, where, ()) if isinstance(part, Layer)]
        return _Choice(group=group, layers=layers)

    def find(self, group: str, name: str, where: str) -> tuple[Path, str]:
        """The file of an option and what messages call it."""
        plain = (
            name and not name.startswith("/") and ".." not in name.split("/") and "\0" not in name
        )
        for root in search_roots(self.project) if plain else ():
            path = root / "configs" / group / f"{name}.yaml"
            if path.is_file():
                foreign = root != self.project and root == default_project()
                return path, f"{'mmrl:' if foreign else ''}configs/{group}/{name}.yaml"
        have = options(self.project, group)
        raise ConfigError(f"{where}: there is no configs/{group}/{name}.yaml; {near(name, have)}")


def _entries(given: Any, label: str) -> list[str | tuple[str, str]]:
    """The lines of a `defaults:` list: a file beside this one, `_self_`, or a group and a name."""
    if not isinstance(given, list):
        raise ConfigError(
            f"{label}: 'defaults' must be a list of '- name' and '- group: name', got {given!r}"
        )
    entries: list[str | tuple[str, str]] = []
    for entry in given:
        if isinstance(entry, str):
            entries.append(entry)
            continue
        pairs = list(entry.items()) if isinstance(entry, dict) else []
        if len(pairs) != 1 or not all(isinstance(part, str) for part in pairs[0]):
            raise ConfigError(
                f"{label}: defaults: each line is '- name' or '- group: name', got {entry!r}"
            )
        entries.append((pairs[0][0].removeprefix("/"), pairs[0][1]))
    if entries.count("_self_") > 1:
        raise ConfigError(f"{label}: defaults: '_self_' stands more than once")
    return entries
