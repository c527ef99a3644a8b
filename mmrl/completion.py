"""What TAB offers: commands, files of configs/, keys, the values a key may have, folders.

An answer is the whole word that would stand on the command line; one that ends in a space is
finished, one that ends in `=`, `.` or `/` goes on.
"""

from __future__ import annotations

import glob
import importlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mmrl.errors import UserError

_CONFIGURED = (("train",), ("config", "show"))
_RUN_KEYS = ("stage", "curriculum", "out", "seed", "name", "resume")


@dataclass(frozen=True, kw_only=True, slots=True)
class Typed:
    """A command line up to the cursor."""

    words: tuple[str, ...]
    """The last one, maybe empty, is being typed."""
    quote: str
    """The quotation mark that is still open, or nothing."""
    quoted_from: int
    """Where in the last word it was opened."""


def read_line(line: str) -> Typed:
    """Cut a command line into words as a shell does."""
    words, word, begun, quote, quoted_from = [], "", False, "", 0
    letters = iter(line)
    for letter in letters:
        if letter == "\\" and quote != "'":
            word += next(letters, "")
        elif quote:
            word, quote = (word, "") if letter == quote else (word + letter, quote)
        elif letter in "'\"":
            quote, quoted_from, begun = letter, len(word), True
        elif letter.isspace():
            words += [word] if word or begun else []
            word, begun = "", False
        else:
            word += letter
    return Typed(words=(*words, word), quote=quote, quoted_from=quoted_from)


def answers(words: Sequence[str], project: Path) -> list[str]:
    """Say what may follow; `words` stand after `mmrl`, the last one is being typed."""
    from mmrl.cli import COMMANDS

    done, current = [word for word in words[:-1] if not word.startswith("-")], words[-1]
    if "--project" in words[:-1]:
        done = done[1:]
    if not done:
        return _starting(current, [f"{name} " for name in COMMANDS])
    command = _command(done)
    if current.startswith("-"):
        return _starting(current, _flags(command))
    if isinstance(command, click.Group):
        return _starting(current, [f"{name} " for name in _shown(command)])
    if tuple(done[:2]) in _CONFIGURED or tuple(done[:1]) in _CONFIGURED:
        given = [word for word in done if "=" in word]
        return _value(current, given, project) if "=" in current else _key(current, given, project)
    return _others(done, current)


def _others(done: list[str], current: str) -> list[str]:
    """Arguments that are no KEY=VALUE."""
    from mmrl.config.files import groups

    if done[:2] == ["config", "list"]:
        return _starting(current, [f"{group} " for group in groups()])
    if done[:2] == ["config", "keys"]:
        return _starting(current, [f"{path} " for path in _leaves()])
    return _paths(current, folders=done[0] == "init")


def _command(done: list[str]) -> click.Command | None:
    from mmrl.cli import COMMANDS

    if done[0] not in COMMANDS:
        return None
    module, _, name = COMMANDS[done[0]][0].partition(":")
    command: click.Command | None = getattr(importlib.import_module(module), name)
    for word in done[1:]:
        if isinstance(command, click.Group):
            command = command.get_command(_context(command), word)
    return command


def _shown(group: click.Group) -> list[str]:
    context = _context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return [name for name, command in found.items() if command and not command.hidden]


def _context(command: click.Command) -> click.Context:
    return click.Context(command)


def _flags(command: click.Command | None) -> list[str]:
    known = command.get_params(_context(command)) if command else []
    flags = [flag for option in known if isinstance(option, click.Option) for flag in option.opts]
    return [f"{flag} " for flag in flags if flag.startswith("--")]


def _key(current: str, given: list[str], project: Path) -> list[str]:
    """The keys that begin so, one level at a time: `rollout.` and then `rollout.group_size=`."""
    from mmrl.config.files import ENTRIES, groups, options

    parent, dot, _ = current.rpartition(".")
    if not dot:
        choices = [
            f"{group}=" for group in groups() if group not in ENTRIES and options(project, group)
        ]
        sections = [f"{name}." for name in _below((), given, project)]
        return _starting(current, [*(f"{key}=" for key in _RUN_KEYS), *choices, *sections])
    found = []
    for name, inner in _below(tuple(parent.split(".")), given, project).items():
        found.append(f"{parent}.{name}{'.' if _has_more(inner) else '='}")
    return _starting(current, found)


def _below(path: tuple[str, ...], given: list[str], project: Path) -> dict[str, Any]:
    """The keys under a path with their types; names of the user's choice from the resolved run."""
    from mmrl.config.keys import annotation_at, children, run_groups, stage_groups, stage_kinds
    from mmrl.config.schema import Run

    if not path:
        several = ["stages"] if any(word.startswith("curriculum=") for word in given) else []
        return dict.fromkeys((*stage_groups(), *run_groups(), *several))
    if path == ("stages",):
        return dict.fromkeys(_resolved(given, project).get("stages", {}), Run)
    own = path[2:] if path[0] == "stages" else path
    roots = [Run] if path[0] in run_groups() else list(stage_kinds().values())
    found: dict[str, Any] = {}
    for root in roots:
        known = children(annotation_at(root, own)) if own else dict(children(root) or {})
        for name, inner in (known or {}).items():
            names = _names(own, given, project) if name == "<name>" else [name]
            found |= dict.fromkeys(names, inner)
    return found


def _has_more(annotation: Any) -> bool:
    from mmrl.config.keys import children, members
    from mmrl.schedule import Schedule

    return bool(children(annotation)) and Schedule not in members(annotation)


def _names(path: tuple[str, ...], given: list[str], project: Path) -> list[str]:
    """The names that the run gives to its reward terms or data sources."""
    names: list[str] = []
    for stage in _resolved(given, project).get("stages", {}).values():
        for part in path:
            stage = stage.get(part, {}) if isinstance(stage, dict) else {}
        names += stage
    return list(dict.fromkeys(names))


def _resolved(given: list[str], project: Path) -> dict[str, Any]:
    from mmrl.config.dump import plain
    from mmrl.config.loader import load_run

    try:
        return plain(load_run(given, project).run)
    except UserError:
        return {}


def _leaves() -> list[str]:
    from mmrl.config.keys import stage_kinds, walk

    return list(dict.fromkeys(key.path for root in stage_kinds().values() for key in walk(root)))


def _value(current: str, given: list[str], project: Path) -> list[str]:
    """The values that a key may have."""
    from mmrl.config.files import groups, options
    from mmrl.config.keys import annotation_at, choices, members, run_groups, stage_kinds
    from mmrl.config.schema import Run

    key, _, start = current.partition("=")
    path = tuple(key.split("."))
    if path[0] == "stages":
        path = path[2:]
    if len(path) == 1 and path[0] in groups():
        return _starting(current, [f"{key}={name} " for name in options(project, path[0])])
    if key in ("out", "resume"):
        automatic = [f"{key}=auto "] if key == "resume" else []
        found = [f"{key}={path}" for path in _paths(start, folders=True)]
        return [*_starting(current, automatic), *found]
    if names := _project_names(path, project):
        return _starting(current, [f"{key}={name} " for name in names])
    for root in [Run] if path[0] in run_groups() else stage_kinds().values():
        annotation = annotation_at(root, path)
        if known := choices(annotation):
            return _starting(current, [f"{key}={choice} " for choice in known])
        if Path in members(annotation):
            return [f"{key}={found}" for found in _paths(start, folders=False)]
    return []


def _project_names(path: tuple[str, ...], project: Path) -> list[str]:
    """The verifiers or pipelines, where a key wants one."""
    from mmrl.project import load_project

    if (path[:2], path[3:]) == (("rewards", "terms"), ("name",)):
        from mmrl.reward import describe_verifiers

        load_project(project)
        return [verifier.name for verifier in describe_verifiers()]
    if (path[0], path[3:]) == ("data", ("pipeline",)):
        from mmrl.data.pipelines import describe_pipelines

        return [pipeline.name for pipeline in describe_pipelines(project)]
    return []


def _paths(start: str, folders: bool) -> list[str]:
    found = sorted(glob.glob(f"{glob.escape(os.path.expanduser(start))}*"))
    home, tilde = os.path.expanduser("~"), start.startswith("~")
    shown = []
    for path in found:
        text = f"~{path.removeprefix(home)}" if tilde else path
        text = re.sub(r"([\s'\"\\$&();<>|*?`!])", r"\\\1", text)
        if os.path.isdir(path):
            shown.append(f"{text}/")
        elif not folders:
            shown.append(f"{text} ")
    return shown


def _starting(current: str, found: Sequence[str]) -> list[str]:
    return [word for word in dict.fromkeys(found) if word.startswith(current)]
