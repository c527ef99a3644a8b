"""`mmrl config`: what a run is made of, how two differ, and which keys and files there are."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from mmrl.config.dump import dump_run
from mmrl.config.files import groups, options
from mmrl.config.keys import Key, near, stage_kinds, walk
from mmrl.config.loader import differences, load_resolved, load_run
from mmrl.config.schema import Run
from mmrl.config.yaml12 import flow
from mmrl.errors import ConfigError
from mmrl.project import find_project


@click.group()
def config() -> None:
    """Show, compare and list configurations and keys."""


@config.command()
@click.argument("overrides", nargs=-1, metavar="stage=NAME|curriculum=NAME [KEY=VALUE]...")
@click.pass_context
def show(ctx: click.Context, overrides: tuple[str, ...]) -> None:
    """Print the resolved configuration, with the origin of each value."""
    loaded = load_run(overrides, find_project(ctx.find_root().obj))
    click.echo(dump_run(loaded.run, loaded.provenance), nl=False)


@config.command()
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.pass_context
def diff(ctx: click.Context, one: str, other: str) -> None:
    """Print the keys in which A and B differ.

    Each is a run folder, a resolved file, or arguments of 'mmrl train' in one pair of quotes:

    \b
    mmrl config diff runs/quickstart/001 runs/quickstart/002
    mmrl config diff "stage=quickstart/grpo" "stage=quickstart/grpo algo.loss=gspo"
    """
    project = find_project(ctx.find_root().obj)
    for key, left, right in differences(_read(one, project), _read(other, project)):
        click.echo(f"{key}: {flow(left)} -> {flow(right)}")


@config.command()
@click.argument("prefix", default="")
def keys(prefix: str) -> None:
    """Print every key with its type, range, default and meaning; PREFIX narrows the list."""
    found = [
        line for key in _all_keys() if key[0].path.startswith(prefix) for line in _describe(*key)
    ]
    if not found:
        raise ConfigError(f"no key begins with {prefix!r}; 'mmrl config keys' lists them all")
    click.echo("\n".join(found))


@config.command(name="list")
@click.argument("group", default="")
@click.pass_context
def list_(ctx: click.Context, group: str) -> None:
    """Print the files that can be chosen, of every group or of one."""
    project = find_project(ctx.find_root().obj)
    if group and group not in groups():
        raise ConfigError(f"there is no group {group!r}; {near(group, list(groups()))}")
    for one in [group] if group else groups():
        for name in options(project, one):
            click.echo(f"{one}={name}")


def _read(given: str, project: Path) -> Run:
    path = Path(given)
    return load_resolved(path) if path.exists() else load_run(shlex.split(given), project).run


def _all_keys() -> list[tuple[Key, str]]:
    """Every key once, with the kinds of stage that have it, where not all do."""
    kinds = stage_kinds()
    found: dict[Key, list[str]] = {}
    for kind, root in kinds.items():
        for key in walk(root):
            found.setdefault(key, []).append(kind)
    stage = [
        (key, "" if len(have) == len(kinds) else f"{' and '.join(have)} only")
        for key, have in found.items()
    ]
    run = [(key, "the run") for key in walk(Run) if not key.path.startswith("stages")]
    return [*run, *((key, only) for key, only in stage if key.path != "kind")]


def _describe(key: Key, of: str) -> list[str]:
    facts = ", ".join(filter(None, (key.type, key.range, f"default {key.default}", of)))
    facts = facts.replace("default required", "required")
    return [f"{key.path}: {facts}", *([f"    {key.doc}"] if key.doc else [])]
