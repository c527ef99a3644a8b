"""What a run achieved: held-out accuracy before the first stage and after each, by modality and by
task, as a table, a JSON file and a page.

Everything is read from the run folder, so a report can be made again at any time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmrl.config.schema import Run
from mmrl.reporting.curves import read_lines
from mmrl.screen import Screen

Accuracies = dict[str, dict[str, float]]
"""Of each modality or task: accuracy (0 to 1) at each moment."""


def write_report(folder: Path, run: Run, screen: Screen) -> dict[str, Any]:
    """Write report.json and report.html into the run folder, show the table, return the numbers."""
    from mmrl.reporting.page import write_page

    report = summarise(folder, run)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    write_page(folder, run, report)
    show(report, moments(run), screen)
    screen.say(f"report: {folder / 'report.html'}")
    return report


def summarise(folder: Path, run: Run) -> dict[str, Any]:
    """The numbers of the report.

    `by_modality` and `by_task` hold accuracies (0 to 1) at the moments `before`, `after_<stage>`;
    `seconds` is the time that the work
    took, over all of its resumed parts, and `seconds_by_stage` how it was spent.
    """
    by_modality: Accuracies = {}
    by_task: Accuracies = {}
    for line in read_lines(folder / "metrics.jsonl"):
        moment = f"after_{line['stage']}" if line["step"] else "before"
        for prefix, table in (("eval/accuracy/", by_modality), ("eval/task/", by_task)):
            for key, value in line.items():
                if key.startswith(prefix):
                    table.setdefault(key.removeprefix(prefix), {})[moment] = value
    seconds: dict[str, float] = {}
    for line in read_lines(folder / "timings.jsonl"):
        spent = sum(line.get(key, 0.0) for key in ("prepare_s", "step_s", "eval_s"))
        seconds[line["stage"]] = seconds.get(line["stage"], 0.0) + spent
    return {
        "name": run.name,
        "seed": run.seed,
        "by_modality": by_modality,
        "by_task": by_task,
        "seconds": round(sum(seconds.values()), 1),
        "seconds_by_stage": {stage: round(value, 1) for stage, value in seconds.items()},
    }


def moments(run: Run) -> list[str]:
    """When held-out rows were scored, in order."""
    return ["before", *(f"after_{name}" for name, stage in run.stages.items() if stage.steps)]


def show(report: dict[str, Any], columns: list[str], screen: Screen) -> None:
    """Print the accuracies as a table."""
    if not report["by_modality"]:
        return
    rows = []
    for heading, table in (("by_modality", report["by_modality"]), ("by_task", report["by_task"])):
        for key, values in table.items():
            name = key if heading == "by_modality" else f"  {key}"
            rows.append([name, *(percent(values.get(column)) for column in columns)])
    titles = ["held-out accuracy", *(column.replace("_", " ") for column in columns)]
    screen.table(
        f"{report['name']}, seed {report['seed']}, {report['seconds']:.0f} s", titles, rows
    )


def percent(value: float | None) -> str:
    """An accuracy as a person reads it."""
    return "-" if value is None else f"{100 * value:.0f} %"
