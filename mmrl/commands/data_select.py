"""`mmrl data select`: score rows by how hard they are, and keep a part of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from mmrl.config.overrides import Override, parse_overrides
from mmrl.errors import ConfigError
from mmrl.project import load_project
from mmrl.registry import did_you_mean

_OWN = {
    "in": "the rows, for example in=rows.jsonl",
    "out": "the file to write, for example out=picked.jsonl",
    "method": "pass_rate, mcts, lim or gain_rl",
}


@click.command()
@click.argument("arguments", nargs=-1, metavar="in=FILE out=FILE method=METHOD [KEY=VALUE]...")
@click.option("--allow-skips", is_flag=True, help="End with 0 even where rows got no answer.")
@click.pass_context
def select(ctx: click.Context, arguments: tuple[str, ...], allow_skips: bool) -> None:
    """Give every row a difficulty, write those that are worth training on, and show the spread.

    \b
    mmrl data select in=rows.jsonl out=picked.jsonl method=pass_rate rollouts=8 \\
        policy.base_url=http://127.0.0.1:8000/v1 policy.model=Qwen/Qwen2.5-VL-7B-Instruct
    mmrl data select in=rows.jsonl out=picked.jsonl method=mcts model=qwen2_5_vl_7b
    mmrl data select in=rows.jsonl out=picked.jsonl method=lim run=runs/geometry3k/001
    mmrl data select in=rows.jsonl out=picked.jsonl method=gain_rl model=tiny_omni share=0.5

    Beside `out` stand the rows that are not in it, with the reason, and a page with a histogram.
    """
    from mmrl.selection.histogram import as_lines, bins_of
    from mmrl.selection.scored import Scored

    project = load_project(ctx.find_root().obj)
    given, overrides = _split(parse_overrides(arguments))
    config, recipe = load_selection(given["method"], overrides, project)
    manifest, outcomes = _run(config, recipe, Path(given["in"]), Path(given["out"]))
    for line in as_lines(bins_of([one for one in outcomes if isinstance(one, Scored)])):
        click.echo(line)
    (written,) = manifest["out"].values()
    click.echo(
        f"{manifest['selected']} of {len(outcomes)} rows are selected, "
        f"{manifest['unscored']} could not be scored; {written['rows']} rows in {given['out']}"
    )
    unanswered = manifest["unanswered"]
    if unanswered:
        again = "give the same command again to ask for them"
        click.echo(f"mmrl: {unanswered} rows got no answer; {again}", err=True)
    if not written["rows"]:
        click.echo("mmrl: no row is selected, so there is nothing to train on", err=True)
    ctx.exit(2 if not written["rows"] or (unanswered and not allow_skips) else 0)


def load_selection(
    method: str, overrides: Sequence[Override], project: Path
) -> tuple[Any, dict[str, Any]]:
    """Return the checked configuration, and what was given, for the manifest.

    Raises:
        ConfigError: one line per mistake.
    """
    from mmrl.config.check import check, lines
    from mmrl.config.compose import Tree
    from mmrl.config.dump import plain
    from mmrl.config.files import COMMAND_LINE, choice_layers
    from mmrl.config.keys import annotation_at
    from mmrl.selection.config import METHODS

    schema = METHODS.get(method)
    if schema is None:
        there = ", ".join(METHODS)
        raise ConfigError(
            f"method: there is no {method!r}{did_you_mean(method, METHODS)}; there are: {there}"
        )
    tree = Tree()
    for override in sorted(overrides, key=lambda override: override.path != ("model",)):
        if override.path == ("model",):
            for layer in choice_layers(project, "model", override.text):
                at = "media" if layer.lowest else "local"
                tree.lay(("policy", at), layer.values, layer.label)
        else:
            path = (
                ("policy", "local", *override.path[1:])
                if override.path[0] == "model"
                else (override.path)
            )
            tree.lay(path, override.read(annotation_at(schema, path)), COMMAND_LINE)
    config, mistakes = check(schema, tree.values)
    if config is None:
        raise ConfigError("\n".join(lines(mistakes, ".".join, tree.origin)))
    return config, {"method": method, **plain(tree.values)}


def _run(config: Any, recipe: Mapping[str, Any], source: Path, out: Path) -> tuple[Any, Any]:
    from mmrl.coldstart.output import check_free
    from mmrl.data.rows import load_rows
    from mmrl.selection.output import write_selection

    rows = load_rows(source)
    wanted = _decisive(recipe)
    check_free(out, source, lambda manifest: _decisive(manifest["select"]) == wanted)
    out.parent.mkdir(parents=True, exist_ok=True)
    outcomes, counts = _score(config, rows)
    manifest = write_selection(
        outcomes,
        recipe,
        source=source,
        out=out,
        keep_all=config.keep == "all",
        counts=counts,
    )
    return manifest, outcomes


def _decisive(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides what is selected: not how the policy is reached."""
    policy = recipe.get("policy") or {}
    who = {key: policy.get(key) for key in ("model", "local", "media", "seed", "request")}
    how = ("policy", "cache", "concurrency", "max_cost", "stop_after")
    return {**{key: value for key, value in recipe.items() if key not in how}, "policy": who}


def _score(config: Any, rows: Sequence[Any]) -> tuple[Any, Mapping[str, Any]]:
    from mmrl.coldstart.screen import show
    from mmrl.commands.cold_start import leaving_at_once, reply_folder
    from mmrl.progress import progress
    from mmrl.selection.config import GainRlConfig, LimConfig, PassRateConfig

    cache = reply_folder(config.cache)
    if isinstance(config, LimConfig):
        from mmrl.selection.learning import score_alignment

        return score_alignment(rows, config), {}
    if isinstance(config, GainRlConfig):
        from mmrl.selection.angles import score_angles

        with progress("measuring", "rows") as on_row:
            return score_angles(rows, config, cache, on_row), {}
    from mmrl.selection.asking import score_pass_rates, score_searches

    with leaving_at_once(), show() as on_progress:
        if isinstance(config, PassRateConfig):
            outcomes, staff = score_pass_rates(rows, config, cache, on_progress)
        else:
            outcomes, staff = score_searches(rows, config, cache, on_progress)
    return outcomes, staff.counts


def _split(overrides: Sequence[Override]) -> tuple[dict[str, str], list[Override]]:
    given = {override.key: override.text for override in overrides if override.key in _OWN}
    missing = [f"{key}: give {what}" for key, what in _OWN.items() if not given.get(key)]
    if missing:
        raise ConfigError("\n".join(missing))
    return given, [override for override in overrides if override.key not in _OWN]
