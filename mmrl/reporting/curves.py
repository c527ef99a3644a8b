"""Reads metrics.jsonl into curves that are short enough to draw, however many steps a run has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from mmrl.config.schema import Run
from mmrl.errors import RunError

POINTS = 400
"""The most points of a curve; longer ones are averaged over neighbouring steps."""

Point = tuple[float, float]


@dataclass(kw_only=True, slots=True)
class Curve:
    """One metric over steps: each point is the mean of `width` neighbouring steps."""

    width: int = 1
    _bins: dict[int, tuple[int, float, float]] = field(default_factory=dict)

    def add(self, step: int, value: float) -> None:
        """Take in the value of a step; steps count from 1 and ascend."""
        place = (step - 1) // self.width
        count, steps, values = self._bins.get(place, (0, 0.0, 0.0))
        self._bins[place] = (count + 1, steps + step, values + value)

    def points(self) -> list[Point]:
        """Step and value, ascending."""
        return [(steps / count, values / count) for count, steps, values in self._bins.values()]


@dataclass(kw_only=True, slots=True)
class Curves:
    """The curves of all stages of one kind, one after the other on one axis."""

    kind: str
    width: int
    """Steps per point."""
    last: int = 0
    """The last step that was logged."""
    offsets: dict[str, int] = field(default_factory=dict)
    """Of each stage: steps of that kind before it."""
    by_metric: dict[str, Curve] = field(default_factory=dict)
    heldout: dict[str, list[Point]] = field(default_factory=dict)
    """Held-out accuracy by modality; the first point is what the stage began with."""

    def points(self, metric: str) -> list[Point]:
        """The metric's points, none where it was not logged."""
        return self.by_metric[metric].points() if metric in self.by_metric else []


@dataclass(kw_only=True, slots=True)
class History:
    """What metrics.jsonl tells of a run."""

    by_kind: dict[str, Curves] = field(default_factory=dict)
    reached: dict[str, int] = field(default_factory=dict)
    """The last step of each stage that has begun."""
    stopped: dict[str, str] = field(default_factory=dict)
    """Of each stage that a rule ended before its last step: the rule."""
    tokens: int = 0
    """Completion tokens that training has seen, over all stages."""


def read_history(folder: Path, run: Run) -> History:
    """Read metrics.jsonl once, keeping at most POINTS points per curve.

    Raises:
        RunError: a line is not JSON.
    """
    history = History()
    evaluated: dict[str, float] = {}
    for line in read_lines(folder / "metrics.jsonl"):
        if line["stage"] not in run.stages:
            continue
        name = line["stage"]
        history.tokens = line.get("tokens", history.tokens)
        if not run.stages[name].steps:
            history.reached[name] = line["step"]
            continue
        if name not in history.reached:
            _begin_stage(history, run, name, evaluated)
        history.reached[name] = line["step"]
        for key in line:
            if key.startswith("stop/"):
                history.stopped[name] = key.removeprefix("stop/")
        evaluated |= _add(history.by_kind[run.stages[name].kind], line)
    return history


def smooth(points: list[Point]) -> list[Point]:
    """A centred moving mean over about a twelfth of the curve; nothing where it is too short.

    The window shrinks towards the ends, so that they are not bent.
    """
    radius = round(len(points) / 24)
    if not radius:
        return []
    smoothed = []
    for place, (step, _) in enumerate(points):
        reach = min(radius, place, len(points) - 1 - place)
        window = points[place - reach : place + reach + 1]
        smoothed.append((step, fmean(value for _, value in window)))
    return smoothed


def ends(points: list[Point]) -> tuple[float, float]:
    """Whence a curve comes and where it arrives: means over its first and last twenty-fourth."""
    count = max(1, len(points) // 24)
    return fmean(value for _, value in points[:count]), fmean(value for _, value in points[-count:])


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a JSONL file, none when it is not there.

    A last line without its end is still being written.

    Raises:
        RunError: a line is not JSON.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                yield parse_line(line, f"{path} line {number}")


def parse_line(line: bytes, where: str) -> dict[str, Any]:
    """One line of a log.

    Raises:
        RunError: it is not a JSON object.
    """
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise RunError(
            f"{where}: not a JSON object; the file was changed by hand or damaged, "
            "restore it or remove the line"
        )
    return values


def _begin_stage(history: History, run: Run, name: str, evaluated: Mapping[str, float]) -> None:
    kind = run.stages[name].kind
    steps = {other: stage.steps for other, stage in run.stages.items() if stage.kind == kind}
    if kind not in history.by_kind:
        history.by_kind[kind] = Curves(kind=kind, width=-(-sum(steps.values()) // POINTS))
    curves = history.by_kind[kind]
    curves.offsets[name] = curves.last
    for modality, accuracy in evaluated.items():
        curves.heldout.setdefault(modality, []).append((curves.offsets[name], accuracy))


def _add(curves: Curves, line: Mapping[str, Any]) -> dict[str, float]:
    """Add a line to the curves; return the held-out accuracies that it holds."""
    step = curves.last = curves.offsets[line["stage"]] + line["step"]
    evaluated: dict[str, float] = {}
    for metric, value in line.items():
        if metric.startswith("eval/accuracy/"):
            evaluated[metric.removeprefix("eval/accuracy/")] = value
        elif "/" in metric and not metric.startswith(("eval/", "stop/")) and value is not None:
            curves.by_metric.setdefault(metric, Curve(width=curves.width)).add(step, value)
    for modality, accuracy in evaluated.items():
        curves.heldout.setdefault(modality, []).append((step, accuracy))
    return evaluated
