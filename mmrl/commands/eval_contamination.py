"""`mmrl eval contamination`: what of a benchmark stands in the training data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mmrl.errors import ConfigError
from mmrl.project import load_project
from mmrl.registry import did_you_mean

_KNOWN = ("train", "tasks", "data", "media", "by", "ids")
_MOST = 20


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("arguments", nargs=-1, metavar="train=FILE [KEY=VALUE]...")
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
@click.pass_context
def contamination(
    ctx: click.Context, folder: Path, arguments: tuple[str, ...], as_json: bool
) -> None:
    """Look for the items of RUN in training data, and score RUN without those that are found.

    Found are media of the same bytes, pictures that look the same though resized or saved again,
    runs of 13 words of a question, and shorter questions as a whole.

    \b
    train=rows.jsonl  a file of rows (.jsonl, .parquet); may be given several times
    tasks=a,b         these tasks only
    data=PATH         where the benchmark lies, if it was moved; data.NAME=PATH for one task
    media=false       compare texts alone
    by=source         the group key to break down by
    ids=20            items that are listed; --json has them all
    """
    from rich.console import Console

    from mmrl.evals.contamination import find_contamination
    from mmrl.evals.contamination_tables import show_contamination
    from mmrl.evals.finished import read_finished

    train, given, data = _read(arguments)
    most = _whole(given.get("ids", str(_MOST)))
    if given.get("media", "true") not in ("true", "false"):
        raise ConfigError(f"media: must be true or false, got {given['media']!r}")
    project = load_project(ctx.find_root().obj)
    only = [name for name in given.get("tasks", "").strip("[]").split(",") if name]
    run = read_finished(folder, project, only=only)
    if "data" in given and len(run.tasks) > 1:
        data = {name: str(Path(given["data"]) / name) for name in run.tasks} | data
    elif "data" in given:
        data = dict.fromkeys(run.tasks, given["data"]) | data
    found = find_contamination(
        run,
        [Path(path) for path in train],
        data=data,
        media=given.get("media", "true") == "true",
        by=given.get("by"),
    )
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=1))
    else:
        show_contamination(found, Console(soft_wrap=False), most=most)


def _read(arguments: tuple[str, ...]) -> tuple[list[str], Mapping[str, str], dict[str, Any]]:
    """Return the training files, the other keys, and where each task's data lie."""
    train: list[str] = []
    given: dict[str, str] = {}
    data: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ConfigError(f"{argument!r}: arguments are written KEY=VALUE")
        if key == "train":
            train.append(value)
        elif key.startswith("data."):
            data[key.removeprefix("data.")] = value
        elif key in _KNOWN:
            given[key] = value
        else:
            raise ConfigError(f"{key}: there is no such key{did_you_mean(key, _KNOWN)}")
    if not train:
        raise ConfigError("train: give a file of training rows, train=rows.jsonl")
    return train, given, data


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"ids: must be a whole number from 0 on, got {text!r}")
    return int(text)
