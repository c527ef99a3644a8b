"""`mmrl eval view`: a page of what a model answered, alone or against another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmrl.errors import ConfigError
from mmrl.project import load_project
from mmrl.registry import did_you_mean

_KNOWN = ("out", "tasks", "data", "limit")


@click.command()
@click.argument("arguments", nargs=-1, metavar="RUN [OTHER] [KEY=VALUE]...")
@click.pass_context
def view(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Write one HTML file to look at RUN, or at RUN against OTHER.

    It opens from a disk, without a network: every item with its media, the responses, what was
    extracted from them and both modes' verdicts, to be filtered and searched. RUN and OTHER are
    folders of evaluations, or files that `mmrl eval score` wrote.

    \b
    out=PAGE       RUN/view.html, or RUN/against_OTHER.html, if not given
    tasks=a,b      these tasks only
    data=PATH      where the benchmark lies, if media were moved or are not named by the run;
                   data.NAME=PATH for one task
    limit=1000     items on the page; of two runs those come first on which they differ
    """
    from mmrl.evals.finished import read_finished
    from mmrl.evals.viewer import LIMIT, write_view

    paths, given, data = _read(arguments)
    project = load_project(ctx.find_root().obj)
    only = [name for name in given.get("tasks", "").strip("[]").split(",") if name]
    run, *others = [read_finished(path, project, only=only) for path in paths]
    if "data" in given and len(run.tasks) > 1:
        data = {name: str(Path(given["data"]) / name) for name in run.tasks} | data
    elif "data" in given:
        data = dict.fromkeys(run.tasks, given["data"]) | data
    page = Path(given["out"]) if "out" in given else _beside(paths)
    limit = given.get("limit", str(LIMIT))
    if not limit.isdecimal() or int(limit) < 1:
        raise ConfigError(f"limit: must be a whole number from 1 on, got {limit!r}")
    page.parent.mkdir(parents=True, exist_ok=True)
    write_view(page, run, others[0] if others else None, data=data, limit=int(limit))
    click.echo(str(page))


def _beside(paths: list[Path]) -> Path:
    first = paths[0]
    name = "view.html" if len(paths) == 1 else f"against_{paths[1].absolute().stem}.html"
    return first / name if first.is_dir() else first.with_name(f"{first.stem}_{name}")


def _read(arguments: tuple[str, ...]) -> tuple[list[Path], dict[str, str], dict[str, Any]]:
    """Return the runs, the keys, and where each task's data lie."""
    paths: list[Path] = []
    given: dict[str, str] = {}
    data: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in _KNOWN:
            given[key] = value
        elif equals and key.startswith("data."):
            data[key.removeprefix("data.")] = value
        elif equals and key.isidentifier() and not Path(argument).exists():
            raise ConfigError(f"{key}: there is no such key{did_you_mean(key, _KNOWN)}")
        else:
            paths.append(Path(argument))
    if not 1 <= len(paths) <= 2:
        raise ConfigError("write: mmrl eval view RUN [OTHER] [KEY=VALUE]...")
    return paths, given, data
