"""A run that goes on may be launched otherwise than it began: on other nodes, with more or fewer
processes, by another strategy. Everything else stays what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmrl.config.check import check, lines
from mmrl.config.compose import Tree
from mmrl.config.dump import plain
from mmrl.config.files import COMMAND_LINE, choice_layers
from mmrl.config.keys import annotation_at
from mmrl.config.launch import LaunchConfig
from mmrl.config.overrides import Override
from mmrl.config.schema import Run
from mmrl.config.spread import check_spread
from mmrl.errors import ConfigError

GROUP = "launch"


def relaunched(run: Run, overrides: Sequence[Override], project: Path) -> Run:
    """The run with what `launch=NAME` and `launch.key=value` change.

    Raises:
        ConfigError: a line per mistake in them.
    """
    tree = Tree()
    tree.lay((GROUP,), plain(run.launch), "")
    choices = [o for o in overrides if len(o.path) == 1]
    for override in choices:
        if override.is_choice(LaunchConfig):
            tree.lay_all(choice_layers(project, GROUP, override.text))
        else:
            tree.lay(override.path, override.read(LaunchConfig), COMMAND_LINE)
    for override in overrides:
        if override not in choices:
            tree.lay(override.path, override.read(annotation_at(Run, override.path)), COMMAND_LINE)
    launch, mistakes = check(LaunchConfig, tree.values.get(GROUP) or {}, f"{GROUP}.")
    if launch is None or mistakes:
        named = lines(mistakes, lambda path: ".".join((GROUP, *path)), lambda _: COMMAND_LINE)
        raise ConfigError("\n".join(named))
    try:
        check_spread(run.stages, launch)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return run.model_copy(update={"launch": launch})
