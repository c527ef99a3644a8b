"""`mmrl bench`: measure parts of mmrl on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from mmrl.commands.bench_step import step
from mmrl.project import load_project


@click.group()
def bench() -> None:
    """Measure parts of mmrl on this machine."""


@bench.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=0.3, show_default=True)
@click.pass_context
def rewards(ctx: click.Context, names: tuple[str, ...], seconds: float) -> None:
    """Judgements per second of every verifier, or of those NAMED, on one core."""
    from mmrl.judging.bench import measure

    load_project(ctx.find_root().obj)
    click.echo(f"{'verifier':20} {'judgements/s':>14}")
    for speed in measure(names, seconds=seconds):
        rate = "-" if speed.per_second is None else f"{speed.per_second:,.0f}"
        click.echo(f"{speed.name:20} {rate:>14}  {speed.note}".rstrip())


@bench.command()
@click.option(
    "--pictures", type=click.Path(path_type=Path), help="A folder in place of drawn pictures."
)
@click.option(
    "--videos", type=click.Path(path_type=Path), help="A folder in place of drawn videos."
)
@click.pass_context
def data(ctx: click.Context, pictures: Path | None, videos: Path | None) -> None:
    """Rows per second that are made and checked, next to decoding alone."""
    from mmrl.data.bench import measure

    load_project(ctx.find_root().obj)
    click.echo(f"{'':24} {'measured':>10} {'decoding alone':>16}")
    for speed in measure(pictures, videos):
        measured, bound = f"{speed.per_second:,.0f}", f"{speed.bound:,.0f}"
        click.echo(
            f"{speed.name:24} {measured:>10} {bound:>16}  {speed.unit}  {speed.note}".rstrip()
        )


bench.add_command(step)
