"""`mmrl eval compare`: is run A better than run B, by how much, and could it be chance."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mmrl.commands.nested import nested
from mmrl.errors import ConfigError
from mmrl.project import load_project
from mmrl.registry import did_you_mean

_KNOWN = ("tasks", "mode", "ids", "resamples")
_MOST = 20


@click.command()
@click.argument("first", type=click.Path(path_type=Path), metavar="A")
@click.argument("second", type=click.Path(path_type=Path), metavar="B")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
@click.pass_context
def compare(
    ctx: click.Context, first: Path, second: Path, arguments: tuple[str, ...], as_json: bool
) -> None:
    """Compare two runs on the same items; differences are A - B.

    A and B are folders of evaluations, or files that `mmrl eval score` wrote. An item that only one
    of them holds is an error. The interval is a paired bootstrap over clusters, and p that of
    McNemar's exact test.

    \b
    tasks=a,b        compare these only
    mode=strict      one mode only
    ids=20           wins and losses that are listed; --json has them all
    resamples=2000   draws of the bootstrap
    """
    from rich.console import Console

    from mmrl.evals.compare import compare as compare_runs
    from mmrl.evals.compare_tables import show_comparison
    from mmrl.evals.finished import read_finished

    given = nested(arguments, texts=("tasks", "mode"))
    unknown = next((key for key in given if key not in _KNOWN), None)
    if unknown is not None:
        raise ConfigError(f"{unknown}: there is no such key{did_you_mean(unknown, _KNOWN)}")
    mode = given.get("mode")
    most = _count(given, "ids", _MOST, least=0)
    resamples = _count(given, "resamples", 2000, least=100)
    project = load_project(ctx.find_root().obj)
    only = [name for name in given.get("tasks", "").strip("[]").split(",") if name]
    runs = [read_finished(path, project, only=only) for path in (first, second)]
    found = compare_runs(*runs, mode=mode, resamples=resamples)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=1))
    else:
        show_comparison(found, Console(soft_wrap=False), mode=mode, most=most)


def _count(given: dict[str, object], key: str, default: int, *, least: int) -> int:
    value = given.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{key}: must be a whole number from {least} on, got {value!r}")
    return value
