"""`mmrl data`: build rows, check them, count them and look at them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from mmrl.commands.data_build import build
from mmrl.commands.data_convert import convert
from mmrl.commands.data_mix import mix
from mmrl.commands.data_select import select
from mmrl.commands.data_show import show
from mmrl.commands.data_split import split
from mmrl.config.check import check as check_values
from mmrl.config.check import lines
from mmrl.config.keys import annotation_at
from mmrl.config.overrides import parse_overrides
from mmrl.config.schema import MediaConfig
from mmrl.errors import ConfigError, DataError
from mmrl.progress import progress
from mmrl.project import load_project
from mmrl.types import Row


@click.group()
def data() -> None:
    """Build rows and check them."""


data.add_command(build)
data.add_command(select)
data.add_command(convert)
data.add_command(mix)
data.add_command(split)
data.add_command(show)


@data.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--media/--no-media", default=True, help="Decode every medium, or leave them alone.")
@click.pass_context
def check(ctx: click.Context, file: Path, arguments: tuple[str, ...], media: bool) -> None:
    """Validate every row of FILE, decode its media, and let its verifier judge its answer.

    One line per mistake goes to standard error; the exit code is 2 when there are any. KEY=VALUE
    changes how media are decoded and how large they may be: media.limit_audio_seconds=600.
    """
    from mmrl.data.check import bad_media
    from mmrl.data.golds import check_golds
    from mmrl.data.rows import sift_rows
    from mmrl.judging.panel import Panel

    load_project(ctx.find_root().obj)
    config = _media_config(arguments)
    rows, errors = sift_rows(file)
    count = len({(medium.kind, medium.source) for row in rows for medium in row.media})
    if media:
        with progress("decoding", "media") as report:
            numbers = itertools.count(1)
            errors += bad_media(rows, config, on_medium=lambda _: report(next(numbers), count))
    panel = Panel()
    try:
        golds = check_golds(rows, panel)
    finally:
        panel.close()
    errors += golds.errors
    for error in errors:
        click.echo(str(error), err=True)
    if not rows and not errors:
        raise DataError(f"{file}: holds no rows")
    decoded = f"{count} media decoded" if media else "media not decoded"
    click.echo(f"{len(rows)} rows read, {decoded}, {golds.judged} gold answers judged")
    if golds.unopposed:
        click.echo(f"{golds.unopposed} of them had no different answer to be tried against")
    click.echo(f"{len(errors)} mistakes" if errors else "no mistakes")
    ctx.exit(2 if errors else 0)


@data.command(name="list")
@click.pass_context
def list_(ctx: click.Context) -> None:
    """Print the data pipelines with their parameters."""
    from mmrl.data.pipelines import describe_pipelines, parameter_docs

    project = load_project(ctx.find_root().obj)
    for found in describe_pipelines(project):
        click.echo(f"{found.name}: {found.summary}")
        docs = parameter_docs(found.build)
        for name, parameter in found.parameters.items():
            given = "required" if parameter.default is parameter.empty else repr(parameter.default)
            click.echo(f"  {name} ({given}): {docs.get(name, 'not described')}")


@data.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--allow-skips", is_flag=True, help="End with 0 even where rows were left out.")
@click.pass_context
def stats(ctx: click.Context, file: Path, allow_skips: bool) -> None:
    """Count the rows of FILE by source, modality, verifier and answer.

    Rows that cannot be used are named on standard error, and the exit code is 2.
    """
    from mmrl.data.stats import count_rows

    bad: list[DataError] = []
    counts = count_rows(_good_rows(file, bad))
    if not counts:
        raise DataError(f"{file}: holds no rows")
    table = [("source", "rows", "modality", "verifier", "responses", "answers")]
    for source, found in counts.items():
        table.append(
            (
                source,
                str(found.rows),
                ", ".join(sorted(found.modalities)),
                ", ".join(sorted(found.verifiers)),
                str(found.responses),
                _distribution(found.answers, found.rows),
            )
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
    click.echo(f"{sum(found.rows for found in counts.values())} rows")
    if bad and not allow_skips:
        ctx.exit(2)


def _good_rows(file: Path, bad: list[DataError]) -> Iterator[Row]:
    """Yield the rows one at a time; name those that are none."""
    from mmrl.data.rows import iter_rows

    for found in iter_rows(file):
        if isinstance(found, DataError):
            bad.append(found)
            click.echo(f"mmrl: {found}", err=True)
        else:
            yield found


def _media_config(arguments: Sequence[str]) -> MediaConfig:
    values = {}
    for override in parse_overrides(arguments):
        path = override.path[1:] if override.path[0] == "media" else override.path
        values[".".join(path)] = override.read(annotation_at(MediaConfig, path))
    config, mistakes = check_values(MediaConfig, values, "media.")
    if config is None:
        found = lines(mistakes, lambda path: f"media.{'.'.join(path)}", lambda _: "command line")
        raise ConfigError("\n".join(found))
    return config


def _distribution(answers: Counter[str], total: int) -> str:
    """Say how the answers share the rows, the five most frequent ones by name."""
    shown = [f"{_short(answer)} {count / total:.0%}" for answer, count in answers.most_common(5)]
    more = f", {len(answers) - 5} others" if len(answers) > 5 else ""
    return ", ".join(shown) + more


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 30 else f"{line[:29]}…"
