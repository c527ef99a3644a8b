"""Where the time of each step went: for every stage a row of columns, one for a step or for some
steps together, cut into the phases of a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from mmrl.reporting.curves import read_lines
from mmrl.reporting.markup import duration, text

IN_STEP = ("prompts", "sample", "judge", "share", "update", "sync")
"""The phases of a step, as timings.jsonl names them with `_s`: `judge` is waiting for verdicts,
`share` telling other processes the rollouts, `sync` giving the engine the weights."""
MOST_COLUMNS = 120


def step_columns(folder: Path) -> str:
    """A row of columns for each stage that made steps; nothing when no clock was read."""
    rows = []
    for stage, lines in _steps(folder).items():
        together = -(-len(lines) // MOST_COLUMNS)
        parts = [lines[start : start + together] for start in range(0, len(lines), together)]
        longest = max(_mean(part, "step_s") for part in parts)
        columns = "".join(_column(part, longest) for part in parts)
        told = f"{text(stage)}: {_told(lines)}"
        rows.append(
            f"<p class=legend>{told}</p>"
            f'<div class=steps role=img aria-label="{told}">{columns}</div>'
        )
    return f"<h3>Steps, one by one</h3>{''.join(rows)}" if rows else ""


def idle_share(lines: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of the steps in which the model neither sampled nor learned; None where no clock
    says so.
    """
    known = [line for line in lines if "idle_frac" in line]
    total = sum(line["step_s"] for line in known)
    return sum(line["step_s"] * line["idle_frac"] for line in known) / total if total else None


def _steps(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The clocks of each stage's steps; of a step that was made again, the last ones."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for line in read_lines(folder / "timings.jsonl"):
        if line.get("step_s"):
            found.setdefault(line["stage"], {})[line["step"]] = line
    return {
        stage: [lines[step] for step in sorted(lines)] for stage, lines in found.items() if lines
    }


def _mean(lines: Sequence[Mapping[str, Any]], key: str) -> float:
    return fmean(line.get(key, 0.0) for line in lines)


def _column(part: Sequence[Mapping[str, Any]], longest: float) -> str:
    seconds = {phase: _mean(part, f"{phase}_s") for phase in IN_STEP}
    whole = _mean(part, "step_s")
    seconds["rest"] = max(0.0, whole - sum(seconds.values()))
    first, last = part[0]["step"], part[-1]["step"]
    steps = f"step {first}" if first == last else f"steps {first} to {last}"
    told = ", ".join(f"{phase} {duration(s)}" for phase, s in seconds.items() if s >= 0.005 * whole)
    # the first phase stands lowest; parts that sum to less than 1 would leave a gap
    bits = "".join(
        f'<i class=phase-{phase} style="flex:{s / whole * 1000:.3f}"></i>'
        for phase, s in reversed(seconds.items())
        if s > 0
    )
    height = 100 * whole / longest
    return f'<b style="height:{height:.3g}%" title="{steps}: {told}">{bits}</b>'


def _told(lines: Sequence[Mapping[str, Any]]) -> str:
    idle = idle_share(lines)
    shown = f"; the model idle {idle:.0%} of the time" if idle is not None else ""
    return f"{duration(median(line['step_s'] for line in lines))} a step{shown}"
