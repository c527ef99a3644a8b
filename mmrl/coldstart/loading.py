"""Read a chain from configs/cold_start/ and the command line, and check it before anyone is asked.

Every step is checked against what the steps before it have written, so that a template cannot name
a text that will not be there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from mmrl.coldstart.config import AnyStep, ChainConfig, StepConfig
from mmrl.coldstart.flow import check_flow
from mmrl.config.check import check, lines
from mmrl.config.compose import Tree
from mmrl.config.files import COMMAND_LINE, flatten
from mmrl.config.keys import annotation_at
from mmrl.config.overrides import Override
from mmrl.errors import ConfigError
from mmrl.registry import did_you_mean

GROUP = "cold_start"

KINDS: dict[str, type[StepConfig]] = {
    kind: step
    for step in get_args(AnyStep)
    for kind in get_args(step.model_fields["kind"].annotation)
}
"""The schema of each kind of step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """A chain that can be run."""

    name: str
    config: ChainConfig
    steps: Mapping[str, AnyStep]
    """By name, in order."""
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """As written, for the manifest."""


def load_chain(name: str, overrides: Sequence[Override], project: Path) -> Chain:
    """Read configs/cold_start/NAME.yaml, lay the overrides over it, and check the whole.

    A step, teacher or word that is overridden by null is taken away.

    Raises:
        ConfigError: one line per mistake.
    """
    tree = Tree()
    for layer in flatten(project, GROUP, name, {}, f"chain={name}"):
        tree.lay(layer.section[1:], layer.values, layer.label)
    for override in overrides:
        tree.lay(override.path, override.read(_annotation(override.path, tree)), COMMAND_LINE)
    return check_chain(name, tree)


def check_chain(name: str, tree: Tree) -> Chain:
    """Check the values of a chain, and how its steps hang together.

    Raises:
        ConfigError: one line per mistake.
    """
    values = dict(tree.values)
    given = values.pop("steps", None)
    config, wrong = check(ChainConfig, _without_nulls(values))
    mistakes = lines(wrong, ".".join, tree.origin)
    # null takes a step away, as it does with everything that has a name of the user's choice
    listed = (
        {key: value for key, value in given.items() if value is not None}
        if (isinstance(given, dict))
        else {}
    )
    if not listed:
        mistakes.append(f"steps: must hold steps by name, in order ({name})")
    steps: dict[str, AnyStep] = {}
    for step, value in listed.items():
        found, slips = _step(step, value, tree)
        mistakes += slips
        if found is not None:
            steps[step] = found
    if not mistakes and config is not None:
        mistakes = check_flow(config, steps)
    if mistakes or config is None:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    shown = {**_without_nulls(values), "steps": listed}
    return Chain(name=name, config=config, steps=steps, values=shown)


def _step(name: str, value: Any, tree: Tree) -> tuple[AnyStep | None, list[str]]:
    where = f"steps.{name}"
    if not isinstance(value, Mapping):
        return None, [f"{where}: must hold 'key: value' lines, got {value!r}"]
    if not name.isidentifier() or name in ("question", "answer", "media"):
        return None, [f"{where}: a step's name is a word of its own, such as 'reason'"]
    kind = value.get("kind", name)
    if not isinstance(kind, str) or kind not in KINDS:
        hint = did_you_mean(str(kind), KINDS)
        there = ", ".join(KINDS)
        return None, [f"{where}.kind: there is no step {kind!r}{hint}; there are: {there}"]
    found, wrong = check(KINDS[kind], {**value, "kind": kind}, f"{where}.")
    slips = lines(
        wrong,
        lambda path: ".".join((where, *path)),
        lambda path: tree.origin(("steps", name, *path)),
    )
    return cast(AnyStep, found), slips


def _annotation(path: tuple[str, ...], tree: Tree) -> Any:
    """Return the type of what an override sets, so that a bare text stays one."""
    if path[0] != "steps":
        return annotation_at(ChainConfig, path)
    if len(path) < 3:
        return Any
    steps = tree.values.get("steps")
    step = steps.get(path[1]) if isinstance(steps, dict) else None
    kind = step.get("kind", path[1]) if isinstance(step, dict) else path[1]
    known = KINDS.get(str(kind))
    return annotation_at(known, path[2:]) if known else Any


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    """Take away teachers that were set to null."""
    teachers = values.get("teachers")
    if not isinstance(teachers, dict):
        return dict(values)
    kept = {key: value for key, value in teachers.items() if value is not None}
    return {**values, "teachers": kept}
