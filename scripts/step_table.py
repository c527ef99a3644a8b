"""Measures `mmrl bench step` over prompt length, completion length and group size, and prints the
table of docs/benchmarks/step.md.

    python scripts/step_table.py --model tiny --against trl --most-tokens 17000 --plot step.png

Cells that are done are kept in `--keep FILE`, so that a stopped table goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from mmrl.bench.step import measure_step
from mmrl.bench.task import Workload

PROMPTS, COMPLETIONS, GROUPS = (128, 512, 2048, 4096), (32, 128, 512), (2, 8, 32)


def main() -> None:
    """Measure what is missing, then print one line per workload that is not too large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--against", default="none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most-tokens", type=int, default=40_000)
    parser.add_argument("--keep", type=Path, default=Path("step_table.jsonl"))
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    kept = arguments.keep.read_text().splitlines() if arguments.keep.exists() else []
    reports = [json.loads(line) for line in kept]
    for prompt, completion, group in itertools.product(PROMPTS, COMPLETIONS, GROUPS):
        shape = {"prompt_tokens": prompt, "completion_tokens": completion, "group_size": group}
        done = any(shape.items() <= report["workload"].items() for report in reports)
        if done or group * (prompt + completion) > arguments.most_tokens:
            continue
        print(f"P={prompt} C={completion} G={group}", file=sys.stderr)
        reports.append(
            measure_step(
                arguments.model,
                Workload(prompts=1, **shape),
                against=arguments.against,
                rounds=arguments.rounds,
                threads=1,
            )
        )
        with arguments.keep.open("a") as file:
            file.write(json.dumps(reports[-1]) + "\n")
    print(_table(reports))
    if arguments.plot:
        _plot(reports, arguments.plot)


def _table(reports: list[dict[str, Any]]) -> str:
    lines = [
        "| P | C | G | bound | scoring + backward | whole step | memory | gradient |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for report in reports:
        work, ratio, memory = report["workload"], report["ratio"], report["peak_memory"]
        cells = [
            *(str(work[key]) for key in ("prompt_tokens", "completion_tokens", "group_size")),
            f"{report['token_bound']:.1f}",
            f"{ratio['scoring_backward']:.1f}",
            f"{ratio['step']:.1f}",
            f"{memory[report['against']] / max(1, memory['mmrl']):.1f}",
            f"{report['max_grad_rel_diff']:.0e}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _plot(reports: list[dict[str, Any]], path: Path) -> None:
    import altair as alt

    points = [
        {
            "token bound": report["token_bound"],
            "times faster": report["ratio"][phase],
            "of": name,
        }
        for report in reports
        for phase, name in (("scoring_backward", "scoring + backward"), ("step", "whole step"))
    ]
    values = alt.Data(values=points)
    scale = alt.Scale(type="log")
    dots = (
        alt.Chart(values)
        .mark_point(filled=True, size=60)
        .encode(
            x=alt.X("token bound:Q", scale=scale, title="token bound G (P + C) / (P + G C)"),
            y=alt.Y("times faster:Q", scale=scale, title="times faster than " + _other(reports)),
            color=alt.Color("of:N", title=None),
        )
    )
    ends = [{"x": 1, "y": 1}, {"x": 12, "y": 12}]
    line = alt.Chart(alt.Data(values=ends)).mark_line(color="#999999").encode(x="x:Q", y="y:Q")
    (line + dots).properties(width=520, height=340).save(str(path), scale_factor=2)


def _other(reports: list[dict[str, Any]]) -> str:
    other = reports[0]["against"]
    return "TRL" if other == "trl" else f"sharing {other}"


if __name__ == "__main__":
    main()
