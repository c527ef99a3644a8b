"""`mmrl eval export` and `mmrl eval import`: runs for other kits' tools, and other kits'
predictions for the scorers here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from mmrl.errors import ConfigError
from mmrl.project import load_project
from mmrl.registry import did_you_mean


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("arguments", nargs=-1, metavar="to=lmms_eval [out=DIR] [tasks=NAME,...]")
@click.pass_context
def export(ctx: click.Context, folder: Path, arguments: tuple[str, ...]) -> None:
    """Write RUN in the shape of lmms-eval's sample logs, and name the files.

    Without out=, they go to the folder lmms_eval in RUN.
    """
    from mmrl.evals.exchange_out import export_lmms_eval
    from mmrl.evals.finished import read_finished

    given = _given(arguments, ("to", "out", "tasks"))
    if given.get("to") != "lmms_eval":
        raise ConfigError(f"to={given.get('to', '')}: write to=lmms_eval, the only shape there is")
    project = load_project(ctx.find_root().obj)
    only = [name for name in given.get("tasks", "").strip("[]").split(",") if name]
    run = read_finished(folder, project, only=only)
    beside = folder / "lmms_eval" if folder.is_dir() else folder.with_suffix("")
    for path in export_lmms_eval(run, Path(given["out"]) if "out" in given else beside):
        click.echo(str(path))


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.argument("arguments", nargs=-1, metavar="from=KIND task=NAME [KEY=VALUE]...")
@click.pass_context
def import_(ctx: click.Context, file: Path, arguments: tuple[str, ...]) -> None:
    """Write the predictions of FILE as lines for `mmrl eval score`, or for engine=replay.

    \b
    from=lmms_eval    a *_samples_*.jsonl file
    from=vlmevalkit   a prediction file: .tsv, .csv, .json, or .xlsx where openpyxl is installed
    from=mathvista    an output file of the MathVista authors
    task=NAME         the benchmark
    data=PATH         its data, for what FILE does not say of the items; split=NAME of them
    extraction=false  leave out extractions that FILE has, so that responses are read anew
    out=FILE          standard output, if not given
    """
    from mmrl.evals.benchmark import find_benchmark
    from mmrl.evals.exchange_in import import_predictions
    from mmrl.evals.log import write_lines

    given = _given(arguments, ("from", "task", "data", "split", "extraction", "out"))
    if "from" not in given or "task" not in given:
        raise ConfigError("write: mmrl eval import FILE from=KIND task=NAME [data=PATH] [out=FILE]")
    if given.get("extraction", "true") not in ("true", "false"):
        raise ConfigError(f"extraction: must be true or false, got {given['extraction']!r}")
    benchmark = find_benchmark(given["task"], load_project(ctx.find_root().obj))
    lines = list(
        import_predictions(
            benchmark,
            file,
            given["from"],
            data=given.get("data"),
            split=given.get("split"),
            extraction=given.get("extraction", "true") == "true",
        )
    )
    if "out" in given:
        write_lines(Path(given["out"]), lines)
    else:
        for line in lines:
            text = json.dumps(line, ensure_ascii=False, default=str)
            sys.stdout.write(text.encode(errors="backslashreplace").decode() + "\n")
    click.echo(f"mmrl: {file}: {len(lines):,} responses", err=True)


def _given(arguments: tuple[str, ...], known: tuple[str, ...]) -> Mapping[str, str]:
    given: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ConfigError(f"{argument!r}: arguments are written KEY=VALUE")
        if key not in known:
            raise ConfigError(f"{key}: there is no such key{did_you_mean(key, known)}")
        given[key] = value
    return given
