"""`mmrl bench`: measure parts of mmrl on this machine."""

from __future__ import annotations

import click

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
