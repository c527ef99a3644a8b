"""The tables of the report as HTML: held-out accuracy after each stage, and where the time went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.reporting.curves import read_lines
from mmrl.reporting.markup import colour, duration, text
from mmrl.reporting.step_times import IN_STEP

PHASES = ("prepare", *IN_STEP, "eval", "rest")
"""What a stage spends its time on; the rest is logging."""


def accuracy_table(
    report: Mapping[str, Any], moments: Mapping[str, str], modalities: Mapping[str, str]
) -> str:
    """Held-out accuracy of each modality, and under it of its tasks.

    Args:
        report: As `mmrl.reporting.report.summarise` returns it.
        moments: Of each moment with a value: its heading.
        modalities: Of each task: its modality, where it is known.
    """
    by_modality, by_task = report["by_modality"], report["by_task"]
    bodies = []
    for modality, values in by_modality.items():
        tasks = [task for task in by_task if modalities.get(task) == modality]
        rows = [_row(modality, values, moments, modality, "modality")]
        rows += [_row(task, by_task[task], moments, modality, "task") for task in tasks]
        bodies.append(f"<tbody>{''.join(rows)}</tbody>")
    rest = [task for task in by_task if modalities.get(task) not in by_modality]
    if rest:
        rows = [_row(task, by_task[task], moments, modalities.get(task), "task") for task in rest]
        bodies.append(f"<tbody>{''.join(rows)}</tbody>")
    heads = "".join(f"<th class=number>{text(heading)}</th>" for heading in moments.values())
    change = "<th class=number>change, points</th>" if len(moments) > 1 else ""
    return (
        "<div class=wide-table><table class=accuracy><thead><tr><th>held-out accuracy, %</th>"
        f"{heads}{change}"
        f"<th class=scale><span>0</span><span>50</span><span>100</span></th></tr></thead>"
        f"{''.join(bodies)}</table></div>"
    )


def difference(before: float | None, after: float | None, css: str = "") -> str:
    """The change between two accuracies in percentage points, coloured by its sign."""
    if before is None or after is None:
        return ""
    points = round(100 * (after - before), 1)
    sign = "up" if points > 0 else "down" if points < 0 else "level"
    shown = f"{points:+.1f}".replace("-", "\u2212") if points else "0.0"
    return f'<span class="{sign} {css}">{shown}</span>'


def time_table(folder: Path) -> str:
    """A bar per stage, as long as its share of the longest, cut into its phases.

    Nothing when no clock was read.
    """
    spent = _read_seconds(folder)
    stages = {stage: sum(phases.values()) for stage, phases in spent.items()}
    total, longest = sum(stages.values()), max(stages.values(), default=0.0)
    if not longest:
        return ""
    used = [
        phase
        for phase in PHASES
        if any(phases[phase] >= 0.005 * stages[stage] > 0 for stage, phases in spent.items())
    ]
    keys = "".join(f"<span><i class=phase-{phase}></i>{phase}</span>" for phase in used)
    rows = []
    for stage, phases in spent.items():
        parts = [(phase, phases[phase]) for phase in used if phases[phase] > 0]
        bar = "".join(
            f'<i class=phase-{phase} style="flex:{1000 * seconds:.3f}" title="{phase}"></i>'
            for phase, seconds in parts
        )
        told = ", ".join(
            f"{phase} {duration(seconds)}"
            for phase, seconds in parts
            if seconds >= 0.005 * stages[stage]
        )
        rows.append(
            f"<tr><th>{text('loading data' if stage == 'run' else stage)}</th>"
            f"<td class=number>{duration(stages[stage])}</td>"
            f"<td class=number>{stages[stage] / total:.0%}</td>"
            f'<td class=spent><div class=bar style="width:{100 * stages[stage] / longest:.3g}%">'
            f"{bar}</div>"
            f"<small>{told}</small></td></tr>"
        )
    return f"<p class=legend>{keys}</p><table class=time><tbody>{''.join(rows)}</tbody></table>"


def _row(
    name: str,
    values: Mapping[str, float],
    moments: Mapping[str, str],
    modality: str | None,
    css: str,
) -> str:
    known = [values.get(moment) for moment in moments]
    cells = []
    for place, value in enumerate(known):
        stepwise = place and len(known) > 2
        step = difference(known[place - 1], value, "step") if stepwise else ""
        shown = "\u2013" if value is None else f"{100 * value:.1f}"
        cells.append(f"<td class=number>{step}{shown}</td>")
    change = f"<td class=number>{difference(known[0], known[-1])}</td>" if len(known) > 1 else ""
    return (
        f'<tr class={css} style="--tint:{colour(modality)}"><th>{text(name, head=60)}</th>'
        f"{''.join(cells)}{change}<td class=scale>{_track(known)}</td></tr>"
    )


def _track(values: Sequence[float | None]) -> str:
    """A line from 0 to 100 %: a ring before, a disc after, and a tick for each stage between."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return ""
    first, last = known[0], known[-1]
    ticks = "".join(f'<i class=tick style="left:{value:.4g}%"></i>' for value in known[1:-1])
    start = f'<i class=from style="left:{first:.4g}%"></i>' if len(known) > 1 else ""
    reach = f"left:{min(first, last):.4g}%;width:{abs(last - first):.4g}%"
    return (
        f'<div class=track><i class=span style="{reach}"></i>'
        f'{ticks}{start}<i class=to style="left:{last:.4g}%"></i></div>'
    )


def _read_seconds(folder: Path) -> dict[str, dict[str, float]]:
    """Of each stage: seconds by phase."""
    spent: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(PHASES, 0.0))
    for line in read_lines(folder / "timings.jsonl"):
        phases = spent[line["stage"]]
        named = {phase: line.get(f"{phase}_s", 0.0) for phase in PHASES if phase != "rest"}
        for phase, seconds in named.items():
            phases[phase] += seconds
        in_step = sum(named[phase] for phase in IN_STEP)
        phases["rest"] += max(0.0, line.get("step_s", 0.0) - in_step)
    return spent
