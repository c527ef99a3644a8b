"""Writes report.html: what a run achieved, how it learnt, and what its completions look like.

The page needs no network and no script. It links the media of the run folder relative to itself, so
that both can be moved together.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmrl.config.dump import dump_run
from mmrl.config.schema import Run
from mmrl.reporting.curves import History, read_history
from mmrl.reporting.markup import DOT, colour, duration, text
from mmrl.reporting.media_links import MediaLinks
from mmrl.reporting.panels import curves_section
from mmrl.reporting.report import moments
from mmrl.reporting.rollout_cards import find_modalities, read_shown_steps, show_step
from mmrl.reporting.step_times import step_columns
from mmrl.reporting.tables import accuracy_table, difference, time_table

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; "
    "img-src 'self' file: data:; media-src 'self' file: data:"
)
"""Whatever a row or a completion holds, the page loads nothing from elsewhere and runs nothing."""

_FILES = (
    "report.json",
    "metrics.jsonl",
    "rollouts.jsonl",
    "timings.jsonl",
    "config.yaml",
    "environment.json",
)

_CARDS = (
    "<p class=caption>Each card is one prompt with its group of completions, best first. The "
    "coloured number is the advantage within the group: what training pushes up or down. Below a "
    "completion: its score in bold, and the terms that it was made from, unweighted. Equal "
    "completions stand once, with their number.</p>"
)


def write_page(folder: Path, run: Run, report: dict[str, Any]) -> None:
    """Write report.html into the run folder; readers see the old page or the new one.

    Args:
        folder: The run folder; any of its files may be missing.
        run: Its configuration.
        report: As `mmrl.reporting.report.summarise` returns it.

    Raises:
        RunError: a log of the run is damaged.
    """
    history = read_history(folder, run)
    sources = {*report["by_task"], *_sources(history)}
    modalities = find_modalities(folder / "rollouts.jsonl", sources)
    columns = _columns(run, report, history)
    sections = {
        "Accuracy": accuracy_table(report, columns, modalities) if report["by_modality"] else "",
        "Curves": "".join(curves_section(curves, modalities) for curves in _kinds(history)),
        "Rollouts": _rollouts(folder, run),
        "Time": time_table(folder) + step_columns(folder),
        "Setup": _setup(folder, run),
    }
    page = _page(
        run, _headline(run, report, history, columns), {k: v for k, v in sections.items() if v}
    )
    unfinished = folder / ".report.html.writing"
    unfinished.write_text(page + _footer(folder), encoding="utf-8")
    unfinished.replace(folder / "report.html")


def _page(run: Run, headline: str, sections: Mapping[str, str]) -> str:
    style = files("mmrl.reporting").joinpath("report.css").read_text(encoding="utf-8")
    links = "".join(f'<a href="#{name.lower()}">{name}</a>' for name in sections)
    body = "\n".join(
        f"<section id={name.lower()}><h2>{name}</h2>\n{content}\n</section>"
        for name, content in sections.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(run.name)} \u00b7 mmrl</title>\n<style>\n{style}</style></head>\n"
        f"<body><header>{headline}<nav>{links}</nav></header>\n<main>\n{body}\n</main>\n"
    )


def _headline(
    run: Run, report: Mapping[str, Any], history: History, columns: Mapping[str, str]
) -> str:
    """Name, seed, time, what ran, and the last accuracy of each modality."""
    first, last = next(iter(columns), ""), next(reversed([*columns]), "")
    tiles = []
    for modality, values in report["by_modality"].items():
        if last not in values:
            continue
        change = difference(values.get(first), values[last]) if first != last else ""
        points = f"{change} points" if change else ""
        tiles.append(
            f'<div class=tile style="--tint:{colour(modality)}"><span>{text(modality)}</span>'
            f"<b>{100 * values[last]:.1f}<small>%</small></b><span>{points}</span></div>"
        )
    model = next(reversed(run.stages.values())).model
    facts = [
        f"seed {run.seed}",
        duration(report["seconds"]),
        text(model.path or f"tiny {model.tiny}", head=120),
        " \u2192 ".join(_stage(run, name, history) for name in run.stages),
    ]
    if history.tokens:
        facts.append(f"{history.tokens:,} tokens trained on")
    said = f"<div class=tiles>{''.join(tiles)}</div>" if tiles else ""
    caption = f"<p class=caption>held-out accuracy {text(columns[last])}</p>" if tiles else ""
    return (
        f"<p class=facts>mmrl run report</p><h1>{text(run.name)}</h1>"
        f"<p class=facts>{DOT.join(facts)}</p>{_unfinished(run, history)}{said}{caption}"
    )


def _stage(run: Run, name: str, history: History) -> str:
    ended = f" (ended by {text(history.stopped[name])})" if name in history.stopped else ""
    return f"{text(name)} {history.reached.get(name, 0):,} steps{ended}"


def _unfinished(run: Run, history: History) -> str:
    """A line for a run that has not reached its end."""
    for name, stage in run.stages.items():
        reached = history.reached.get(name, 0)
        if reached < stage.steps and name not in history.stopped:
            return (
                f"<p class=warning>Not finished: stage {text(name)} is at step {reached:,} of "
                f"{stage.steps:,}.</p>"
            )
    return ""


def _columns(run: Run, report: Mapping[str, Any], history: History) -> dict[str, str]:
    """The moments at which something was scored, with their headings."""
    scored = {moment for values in report["by_modality"].values() for moment in values}
    headings = {moment: moment.replace("_", " ", 1) for moment in moments(run) if moment in scored}
    for name, stage in run.stages.items():
        cut = history.reached.get(name, 0) < stage.steps and name not in history.stopped
        if f"after_{name}" in headings and cut:
            headings[f"after_{name}"] = f"in {name}"
    return headings


def _kinds(history: History) -> list[Any]:
    """The kinds of stages that made a step, the latest of them first."""
    return [curves for curves in reversed(history.by_kind.values()) if curves.by_metric]


def _sources(history: History) -> set[str]:
    metrics = {metric for curves in history.by_kind.values() for metric in curves.by_metric}
    return {
        metric.removeprefix("source/").removesuffix("/count")
        for metric in metrics
        if metric.startswith("source/") and metric.endswith("/count")
    }


def _rollouts(folder: Path, run: Run) -> str:
    media = next(reversed(run.stages.values())).media
    links = MediaLinks(folder=folder, out=run.out, media=media)
    steps = read_shown_steps(folder / "rollouts.jsonl", run)
    if not steps:
        return ""
    titles = ["Early", "Late"] if len(steps) > 1 else ["So far"]
    return _CARDS + "".join(
        f"<h3>{title} <small>stage {text(shown.stage)}, step {shown.step:,}</small></h3>"
        f"{show_step(shown, links)}"
        for title, shown in zip(titles, steps, strict=True)
    )


def _setup(folder: Path, run: Run) -> str:
    parts = [f"<details><summary>Configuration</summary><pre>{text(dump_run(run))}</pre></details>"]
    path = folder / "environment.json"
    if path.exists():
        shown = path.read_text(encoding="utf-8", errors="replace")
        parts.append(f"<details><summary>Environment</summary><pre>{text(shown)}</pre></details>")
    return "".join(parts)


def _footer(folder: Path) -> str:
    links = DOT.join(f'<a href="{name}">{name}</a>' for name in _FILES if (folder / name).exists())
    return f"<footer>{links}</footer></body></html>\n"
