"""`mmrl mixture`: find the mixture of sources that trains best, by proxy runs (MoDoMoDo, arXiv
2505.24871).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from mmrl.config.loader import load_run
from mmrl.config.sampling import FixedMixture
from mmrl.config.schema import SelectStage
from mmrl.curriculum.modomodo import HEURISTICS, Proxy, heuristic, seed_mixtures
from mmrl.curriculum.proxies import PLAN, Plan, Results, read_plan, read_results, write_plan
from mmrl.curriculum.surrogate import Surface, fit_surface, propose
from mmrl.errors import ConfigError, RunError
from mmrl.project import find_project


@click.group()
def mixture() -> None:
    """Find the mixture of sources that trains best, by proxy runs."""


@mixture.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, metavar="stage=NAME [KEY=VALUE]...")
@click.option("--source", "sources", multiple=True, help="A source of the rows; once for each.")
@click.pass_context
def plan(
    ctx: click.Context, folder: Path, arguments: tuple[str, ...], sources: tuple[str, ...]
) -> None:
    """Write the seed mixtures into FOLDER/plan.yaml: each source alone, all but one, all.

    The arguments are those of 'mmrl train'; make the runs short and small. Without --source the
    sources are those that the stage's mixture weighs.

    \b
    mmrl mixture plan study stage=quickstart/grpo optim.steps=30 --source colour --source pitch
    mmrl mixture plan study stage=quickstart/grpo --source colour --source pitch | sh
    """
    if (folder / PLAN).exists():
        raise ConfigError(
            f"{folder / PLAN} is there already; 'mmrl mixture suggest' adds to it, another folder "
            "starts anew"
        )
    project = find_project(ctx.find_root().obj)
    sources = sources or _weighed(arguments, project)
    _check_sources(sources)
    planned = Plan(folder=folder, sources=sources, arguments=arguments, runs=seed_mixtures(sources))
    for name in planned.runs:
        load_run(planned.proxy_arguments(name), project)
    write_plan(planned)
    _print_commands(planned, planned.runs)
    click.echo(f"{len(planned.runs)} runs are planned in {folder / PLAN}", err=True)


@mixture.command()
@click.argument("folder", type=click.Path(path_type=Path))
def fit(folder: Path) -> None:
    """Fit a surface to the scores of FOLDER's finished runs, and draw prediction against truth.

    Writes FOLDER/fit.json and FOLDER/prediction.svg.
    """
    from mmrl.reporting.prediction import Predicted, draw_prediction

    planned = read_plan(folder)
    results = _finished(planned)
    surface = _surface(results.proxies)
    points = [
        Predicted(
            name=proxy.name,
            truth=proxy.out_score,
            prediction=surface.predict(proxy.weights),
            seen=index not in surface.tested,
        )
        for index, proxy in enumerate(results.proxies)
    ]
    click.echo(f"{'mixture':24} {'in':>8} {'out':>8} {'predicted':>10}")
    for proxy, point in zip(results.proxies, points, strict=True):
        mark = "" if point.seen else "  (held back)"
        click.echo(
            f"{proxy.name:24} {proxy.in_score:8.4f} {proxy.out_score:8.4f} "
            f"{point.prediction:10.4f}{mark}"
        )
    click.echo(f"R^2 on the mixtures that were held back: {surface.r_squared:.3f}")
    fitted = {
        "sources": surface.sources,
        "constant": surface.constant,
        "linear": surface.linear_S.tolist(),
        "quadratic": surface.quadratic_SS.tolist(),
        "r_squared": surface.r_squared,
        "mixtures": [
            {
                "name": proxy.name,
                "weights": dict(proxy.weights),
                "in_score": proxy.in_score,
                "out_score": proxy.out_score,
                "predicted": point.prediction,
                "held_back": not point.seen,
            }
            for proxy, point in zip(results.proxies, points, strict=True)
        ],
    }
    (folder / "fit.json").write_text(json.dumps(fitted, indent=1) + "\n")
    (folder / "prediction.svg").write_text(draw_prediction(points))
    click.echo(f"{folder / 'fit.json'}, {folder / 'prediction.svg'}", err=True)


@mixture.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--by",
    type=click.Choice(["surface", "heuristics", *HEURISTICS]),
    default="surface",
    help="The fitted surface, one of MoDoMoDo's heuristics, or all of these.",
)
@click.option("--top", default=3, type=click.IntRange(1, 100), help="Proposals of the surface.")
@click.option("--add", is_flag=True, help="Add them to the plan, and print their commands.")
def suggest(folder: Path, by: str, top: int, add: bool) -> None:
    """Propose the next mixtures from the scores of FOLDER's finished runs."""
    planned = read_plan(folder)
    results = _finished(planned)
    proposals = (
        _by_surface(results.proxies, top)
        if by == "surface"
        else {
            name: _heuristic(name, results.proxies)
            for name in (HEURISTICS if by == "heuristics" else (by,))
        }
    )
    fresh = {_free_name(name, planned): weights for name, weights in proposals.items()}
    for name, weights in fresh.items():
        shares = ", ".join(f"{source} {share:.4f}" for source, share in weights.items())
        click.echo(f"{name}: {shares}", err=add)
    if add:
        grown = replace(planned, runs={**planned.runs, **fresh})
        write_plan(grown)
        _print_commands(grown, fresh)


def _weighed(arguments: Sequence[str], project: Path) -> tuple[str, ...]:
    stage = [*load_run(arguments, project).run.stages.values()][-1]
    if isinstance(stage, SelectStage) or not isinstance(stage.mixture, FixedMixture):
        raise ConfigError(
            "mixture plan: name the sources, --source NAME for each; 'mmrl data stats' lists those "
            "of a rows file"
        )
    return tuple(stage.mixture.weights)


def _check_sources(sources: Sequence[str]) -> None:
    if len({*sources}) < len(sources) or len(sources) < 2:
        raise ConfigError(
            f"mixture plan: a mixture needs two different sources or more, got {', '.join(sources)}"
        )


def _print_commands(planned: Plan, names: Mapping[str, object]) -> None:
    for name in names:
        click.echo(planned.command(name))


def _finished(planned: Plan) -> Results:
    """The results, with a line about what is still missing."""
    results = read_results(planned)
    if not results.proxies:
        raise RunError(
            f"{planned.folder / PLAN}: none of its {len(planned.runs)} runs is finished; run the "
            "commands that stand in it first"
        )
    if results.unfinished:
        click.echo(f"mmrl: not finished, left out: {', '.join(results.unfinished)}", err=True)
    if not results.has_out:
        click.echo(
            "mmrl: no held-out task is outside of the sources; mixtures are rated in-domain",
            err=True,
        )
    return results


def _surface(proxies: Sequence[Proxy]) -> Surface:
    if len({proxy.out_score for proxy in proxies}) == 1:
        raise RunError(
            f"mixture: all finished runs scored {proxies[0].out_score:g}, so there is nothing to "
            "fit; make the runs longer, or plan easier ones"
        )
    try:
        return fit_surface(
            [proxy.weights for proxy in proxies], [proxy.out_score for proxy in proxies]
        )
    except ValueError as error:
        raise RunError(f"mixture: {error}; run more of the plan's commands") from error


def _by_surface(proxies: Sequence[Proxy], top: int) -> dict[str, dict[str, float]]:
    surface = _surface(proxies)
    found = propose(surface, [proxy.weights for proxy in proxies], count=top)
    return {f"surface_{rank}": weights for rank, (weights, _) in enumerate(found, start=1)}


def _heuristic(name: str, proxies: Sequence[Proxy]) -> dict[str, float]:
    try:
        return heuristic(name, proxies)
    except ValueError as error:
        raise RunError(f"mixture suggest --by {name}: {error}") from error


def _free_name(name: str, planned: Plan) -> str:
    """The name itself, or with a number where an earlier proposal has it."""
    number, free = 1, name
    while free in planned.runs:
        number += 1
        free = f"{name}.{number}"
    return free
