"""Stages that are repeated, written out: `rounds: {repeat: 2, stages: {sft: ..., grpo: ...}}`
becomes sft_1, grpo_1, sft_2, grpo_2; `sft: {stage: FILE, repeat: 2}` becomes sft_1, sft_2.

`stages.sft_2.KEY=VALUE` changes one round, `stages.sft.KEY=VALUE` all of them, and a stage may
refer to its round as `${round}`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmrl.config.compose import Tree
from mmrl.config.overrides import Override
from mmrl.errors import ConfigError

Path = tuple[str, ...]


@dataclass(kw_only=True, slots=True)
class Rounds:
    """How stages were written out."""

    names: dict[str, list[str]] = field(default_factory=dict)
    """Of each repeated stage: its name in every round."""
    numbers: dict[str, int] = field(default_factory=dict)
    """The round of each stage, from 1; stages that are not repeated have none."""

    def spread(self, overrides: Sequence[Override]) -> list[Override]:
        """Aim what is meant for a repeated stage at each of its rounds."""
        found = []
        for override in overrides:
            rounds = self.names.get(override.path[1], []) if _is_of_stage(override) else []
            found += [
                Override(path=("stages", name, *override.path[2:]), text=override.text)
                for name in rounds
            ] or [override]
        return found


def write_out(tree: Tree, overrides: Sequence[Override]) -> tuple[Rounds, list[Override]]:
    """Replace each repeated entry of a run's `stages` by its rounds, with the origin of every
    value; return how, and the overrides that are left.

    Raises:
        ConfigError: a number of rounds that is none, or two stages of one name.
    """
    given = tree.values.get("stages")
    rounds = Rounds()
    if not isinstance(given, dict):
        return rounds, [*overrides]
    counts = {o.path[1]: o for o in overrides if _is_of_stage(o) and o.path[2:] == ("repeat",)}
    rest = [o for o in overrides if o not in counts.values()]
    values: dict[str, Any] = {}
    labels = {path: label for path, label in tree.labels.items() if path[:1] != ("stages",)}
    for name, entry in given.items():
        if name not in counts and not (isinstance(entry, dict) and "repeat" in entry):
            copies: Iterator[tuple[Path, str, int]] = iter([(("stages", name), name, 0)])
        else:
            copies = _copies(tree, name, entry, counts.get(name))
        for source, fresh, number in copies:
            if fresh in values:
                raise ConfigError(f"stages: two stages are called {fresh!r}, once written out")
            values[fresh] = _without_repeat(_at(tree.values, source))
            if number:
                rounds.numbers[fresh] = number
                rounds.names.setdefault(source[-1], []).append(fresh)
            labels |= {
                ("stages", fresh, *path[len(source) :]): label
                for path, label in tree.labels.items()
                if path[: len(source)] == source and path[len(source) :] != ("repeat",)
            }
    tree.values["stages"], tree.labels = values, labels
    return rounds, rest


def _copies(
    tree: Tree, name: str, entry: Any, override: Override | None
) -> Iterator[tuple[Path, str, int]]:
    """Where each stage of an entry is copied from, its new name and its round."""
    count = override.read(int) if override else entry["repeat"]
    path = ("stages", name, "repeat")
    where = "command line" if override else tree.origin(path)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(
            f"stages.{name}.repeat: must be an integer of at least 1, got {count!r} ({where})"
        )
    inner = entry.get("stages") if isinstance(entry, dict) else None
    if inner is not None and (
        not isinstance(inner, dict) or not inner or {*entry} - {"repeat", "stages"}
    ):
        raise ConfigError(
            f"stages.{name}: must hold 'repeat: N' and 'stages: {{NAME: {{stage: FILE}}}}', as a "
            f"mapping ({where})"
        )
    for number in range(1, count + 1):
        for stage in inner or [name]:
            source = ("stages", name, "stages", stage) if inner else ("stages", name)
            yield source, f"{stage}_{number}", number


def _at(values: Any, path: Path) -> Any:
    for part in path:
        values = values[part]
    return copy.deepcopy(values)


def _without_repeat(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    return {key: value for key, value in entry.items() if key != "repeat"}


def _is_of_stage(override: Override) -> bool:
    return override.path[0] == "stages" and len(override.path) > 1
