"""A mixture study on disk: the proxy runs that were planned, and what those that ran have scored.

`plan.yaml` names the sources, the arguments of `mmrl train` that all runs share, and each run's
weights and command. Scores are those of the run folders, read when they are asked for.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrl.config.loader import load_resolved
from mmrl.config.yaml12 import flow, parse_file
from mmrl.curriculum.modomodo import Proxy, mean_score
from mmrl.errors import DataError, RunError
from mmrl.reporting.curves import read_lines
from mmrl.seeds import derive

PLAN = "plan.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is to be trained."""

    folder: Path
    sources: tuple[str, ...]
    arguments: tuple[str, ...]
    """Of `mmrl train`, shared by all runs."""
    runs: Mapping[str, Mapping[str, float]]
    """The weights of each run, by its name."""

    def out(self, name: str) -> Path:
        """The run folder of a proxy."""
        return self.folder / "runs" / name

    def proxy_arguments(self, name: str) -> list[str]:
        """The arguments of `mmrl train` for a proxy."""
        mixture = flow({"kind": "fixed", "weights": dict(self.runs[name])})
        return [*self.arguments, f"mixture={mixture}", f"out={self.out(name)}"]

    def command(self, name: str) -> str:
        """The command that trains a proxy."""
        return f"mmrl train {shlex.join(self.proxy_arguments(name))}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """What the runs of a plan have come to."""

    proxies: list[Proxy] = field(default_factory=list)
    """Those that are finished."""
    unfinished: list[str] = field(default_factory=list)
    has_out: bool = False
    """Whether tasks were scored that are not among the sources; without any, the out-of-domain
    score is the in-domain one."""


def write_plan(plan: Plan) -> Path:
    """Write plan.yaml; return its path."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"# mmrl mixture fit {shlex.quote(str(plan.folder))}",
        f"sources: {flow([*plan.sources])}",
        f"arguments: {flow([*plan.arguments])}",
        "runs:",
    ]
    for name, weights in plan.runs.items():
        lines += [
            f"  {flow(name)}:",
            f"    weights: {flow(dict(weights))}",
            f"    command: {flow(plan.command(name))}",
        ]
    path = plan.folder / PLAN
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_plan(folder: Path) -> Plan:
    """Read plan.yaml.

    Raises:
        ConfigError: there is none, or it is not YAML.
        RunError: it is not a plan.
    """
    values = parse_file(folder / PLAN, str(folder / PLAN))
    try:
        return Plan(
            folder=folder,
            sources=tuple(map(str, values["sources"])),
            arguments=tuple(map(str, values["arguments"])),
            runs={
                str(name): {source: float(run["weights"][source]) for source in values["sources"]}
                for name, run in values["runs"].items()
            },
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(
            f"{folder / PLAN}: not a plan ({type(error).__name__}: {error}); write one with "
            "'mmrl mixture plan'"
        ) from error


def read_results(plan: Plan) -> Results:
    """Read the final held-out scores of every run that is finished.

    Raises:
        DataError: a run was evaluated on no held-out rows.
    """
    done = [name for name in plan.runs if (plan.out(name) / "report.json").is_file()]
    if not done:
        return Results(unfinished=[*plan.runs])
    counts = heldout_counts(plan.out(done[0]))
    proxies, has_out = [], False
    for name in done:
        scores = _final_scores(plan.out(name))
        inside = {task: score for task, score in scores.items() if task in plan.sources}
        outside = {task: score for task, score in scores.items() if task not in plan.sources}
        has_out = has_out or bool(outside)
        if not inside and not outside:
            raise DataError(
                f"{plan.out(name)}: the run was evaluated on no held-out rows; give its stage "
                "data.heldout and plan again"
            )
        in_score = mean_score(inside or outside, counts)
        out_score = mean_score(outside or inside, counts)
        proxies.append(
            Proxy(name=name, weights=plan.runs[name], in_score=in_score, out_score=out_score)
        )
    return Results(
        proxies=proxies,
        unfinished=[name for name in plan.runs if name not in done],
        has_out=has_out,
    )


def heldout_counts(folder: Path) -> Counter[str]:
    """Return how many held-out rows each task of a run's last stage was scored on."""
    from mmrl.data.sources import load_source

    run = load_resolved(folder)
    stage = [*run.stages.values()][-1]
    rows: list[Any] = []
    for key, source in stage.data.heldout.items():
        seed = derive(run.seed, "data", key)
        rows += load_source(source, folder=folder / "data", seed=seed, split="heldout")
    return Counter(row.source for row in rows[: stage.eval.limit])


def _final_scores(folder: Path) -> dict[str, float]:
    """The accuracy of each task when the run was last evaluated."""
    scores: dict[str, float] = {}
    for line in read_lines(folder / "metrics.jsonl"):
        found = {
            key.removeprefix("eval/task/"): value
            for key, value in line.items()
            if key.startswith("eval/task/")
        }
        scores = found or scores
    return scores
