"""Reads the arguments of `mmrl doctor model=NAME`: which model, and the step that is assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.config.check import check, lines
from mmrl.config.compose import Tree
from mmrl.config.files import COMMAND_LINE, choice_layers, options
from mmrl.config.keys import annotation_at
from mmrl.config.launch import LaunchConfig
from mmrl.config.overrides import Override, parse_overrides
from mmrl.config.schema import GrpoStage
from mmrl.config.section import Section
from mmrl.config.spread import check_stage_spread
from mmrl.errors import ConfigError

_ASSUMED: dict[str, Any] = {
    "kind": "grpo",
    "data": {"train": {"rows": {"path": "rows.jsonl"}}},
    "rollout": {"prompts_per_step": 64, "group_size": 8, "max_new_tokens": 1024, "max_batch": 64},
    "rewards": {"terms": {"accuracy": {}}},
    "optim": {"steps": 1, "micro_tokens": 8192},
}
"""A step of GRPO, for what its keys do not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is looked over."""

    stage: GrpoStage
    """Its model and media, and the step whose memory is predicted."""
    launch: LaunchConfig | None
    """The only one that is asked for."""


def read_subject(arguments: Sequence[str], project: Path) -> Subject:
    """Read `model=NAME` (a file of configs/model/, a folder, a tiny family, a name on the hub),
    `launch=NAME` and single keys of a GRPO stage.

    Raises:
        ConfigError: a line per mistake.
    """
    overrides = parse_overrides(arguments)
    named = [o for o in overrides if o.path == ("model",)]
    if not named:
        raise ConfigError("doctor: say which model, model=NAME, before other keys")
    tree = Tree()
    tree.lay((), _ASSUMED, "what doctor assumes")
    _lay_model(tree, named[-1].text, overrides, project)
    own = [o for o in overrides if o.path[0] != "launch" and o.path != ("model",)]
    for override in own:
        value = override.read(annotation_at(GrpoStage, override.path))
        tree.lay(override.path, value, COMMAND_LINE)
    stage = _checked(GrpoStage, tree)
    launch = _launch([o for o in overrides if o.path[0] == "launch"], project)
    if launch is not None:
        try:
            check_stage_spread(stage, launch)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    return Subject(stage=stage, launch=launch)


def _lay_model(tree: Tree, name: str, overrides: Sequence[Override], project: Path) -> None:
    from mmrl.evals.models import resolve_model

    if name in options(project, "model"):
        layers = choice_layers(project, "model", name)
        tree.lay_all(sorted(layers, key=lambda layer: not layer.lowest))
        return
    families = [o.text for o in overrides if o.path == ("model", "family")]
    found = resolve_model(name, {"family": families[-1]} if families else {}, project)
    tree.lay(("model",), found.model_dump(exclude_unset=True), COMMAND_LINE)


def _launch(overrides: Sequence[Override], project: Path) -> LaunchConfig | None:
    if not overrides:
        return None
    tree = Tree()
    for override in overrides:
        if override.is_choice(LaunchConfig) and len(override.path) == 1:
            tree.lay_all(choice_layers(project, "launch", override.text))
    for override in overrides:
        if len(override.path) > 1:
            value = override.read(annotation_at(LaunchConfig, override.path[1:]))
            tree.lay(override.path, value, COMMAND_LINE)
    inner = Tree(values=tree.values.get("launch") or {})
    return _checked(LaunchConfig, inner, "launch")


def _checked(root: type[Section], tree: Tree, *section: str) -> Any:
    found, mistakes = check(root, tree.values, "".join(f"{key}." for key in section))
    if found is None:
        named = lines(mistakes, lambda path: ".".join((*section, *path)), tree.origin)
        raise ConfigError("\n".join(named))
    return found
