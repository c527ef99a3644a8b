"""LIMR's method: score rows by the rewards that a finished run has given them, epoch by epoch."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median_low
from typing import Any

from mmrl.difficulty import lim_scores
from mmrl.errors import DataError
from mmrl.selection.config import LimConfig
from mmrl.selection.scored import Outcome, Scored, Unscored
from mmrl.types import Row

Visits = dict[str, dict[int, list[float]]]
"""By row and step: 1.0 for each rollout that was right, else 0.0."""


def score_alignment(rows: Sequence[Row], config: LimConfig) -> list[Outcome]:
    """Score rows by how closely their pass rates followed the mean of all rows.

    Raises:
        DataError: the run's rollouts cannot be read, or hold none of the rows.
    """
    path = config.run / "rollouts.jsonl" if config.run.is_dir() else config.run
    visits = read_visits(path, config.stage)
    if not any(row.id in visits for row in rows):
        raise DataError(f"{path}: holds rollouts of none of the rows; was the run made with them?")
    curves = reward_curves(visits, [row.id for row in rows], config.steps_per_epoch)
    scores = lim_scores(curves)
    return [
        scored(row, score, curve, config)
        for row, score, curve in zip(rows, scores, curves, strict=True)
    ]


def scored(
    row: Row, score: float | None, curve: Sequence[float | None], config: LimConfig
) -> Outcome:
    """Score one row; its difficulty is its distance from the mean curve."""
    if score is None:
        missed = sum(rate is None for rate in curve)
        reason = f"the run did not visit it in {missed} of {len(curve)} epochs"
        return Unscored(row=row, reason=reason)
    selected = score >= config.threshold
    return Scored(
        row=row,
        difficulty=1 - score,
        facts={"alignment": score, "pass_rates": list(curve)},
        reason="" if selected else f"alignment {score:.3f}, less than {config.threshold:g}",
    )


def reward_curves(
    visits: Visits, ids: Sequence[str], steps_per_epoch: int | None
) -> list[list[float | None]]:
    """Return each row's pass rate in each epoch, None where it was not visited.

    Args:
        visits: From `read_visits`.
        ids: The rows.
        steps_per_epoch: Where epochs end. None counts each visit as an epoch, up to the number of
            visits that at least half of the visited rows have had.
    """
    if steps_per_epoch is None:
        counts = [len(visits[row]) for row in ids if row in visits]
        epochs = median_low(counts) if counts else 0
        epoch_of = {
            row: {step: place for place, step in enumerate(sorted(visits.get(row, {})))}
            for row in ids
        }
    else:
        last = max((step for of_row in visits.values() for step in of_row), default=0)
        epochs = -(-last // steps_per_epoch)
        epoch_of = {
            row: {step: (step - 1) // steps_per_epoch for step in visits.get(row, {})}
            for row in ids
        }
    return [_curve(visits.get(row, {}), epoch_of[row], epochs) for row in ids]


def read_visits(path: Path, stage: str | None) -> Visits:
    """Read which rollouts of a run were right: those whose row's own verifiers gave 1.

    Raises:
        DataError: there is no such file, a line is damaged, or it holds several stages and none is
            named.
    """
    visits: Visits = defaultdict(lambda: defaultdict(list))
    stages: dict[str, None] = {}
    for number, record in _read(path):
        try:
            stages[record["stage"]] = None
            if stage is not None and record["stage"] != stage:
                continue
            accuracy = record["parts"].get("accuracy", record["score"])
            right = visits[record["row"]][record["step"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}:{number}: is no rollout of a run") from error
        if accuracy is not None:
            right.append(float(accuracy >= 1 - 1e-6))
    listed = ", ".join(stages)
    if stage is None and len(stages) > 1:
        raise DataError(f"{path}: holds several stages ({listed}); say which, with stage=")
    if stage is not None and stage not in stages:
        raise DataError(f"{path}: has no stage {stage!r}; it has: {listed or 'none'}")
    return visits


def _read(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; give run=RUN with a run folder")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: is not JSON") from error


def _curve(
    of_row: Mapping[int, Sequence[float]], epoch_of: Mapping[int, int], epochs: int
) -> list[float | None]:
    rates: list[list[float]] = [[] for _ in range(epochs)]
    for step, right in of_row.items():
        if epoch_of[step] < epochs:
            rates[epoch_of[step]] += right
    return [sum(right) / len(right) if right else None for right in rates]
