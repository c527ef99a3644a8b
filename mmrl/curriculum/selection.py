"""What a `select` stage keeps of its pool, and how the rows get to the stages after it.

A row's pass rate is the mean accuracy of its completions by its own verifiers. The rows that are
kept are handed on with `difficulty` 1 - pass rate and, in `extra`, `pass_rate` and `mean_length`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from mmrl.config.sampling import SelectConfig
from mmrl.curriculum.contract import as_result
from mmrl.errors import DataError, RunError
from mmrl.types import Rollout, Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """How the policy did on a row of the pool."""

    id: str
    pass_rate: float | None
    """None where no completion could be judged."""
    mean_length: float
    """Tokens of a completion."""
    first: str | None
    """The first completion that is right; None where none is."""
    shortest: str | None
    """The one with the fewest tokens."""


def score_group(rollouts_G: Sequence[Rollout]) -> Scored:
    """Return how a row did."""
    right = [
        rollout.completion
        for rollout in rollouts_G
        if (rollout.verdict.parts.get("accuracy") or 0.0) >= 1.0
    ]
    shortest = min(right, key=lambda completion: len(completion.ids), default=None)
    return Scored(
        id=rollouts_G[0].prompt.row.id,
        pass_rate=as_result(0, rollouts_G).accuracy,
        mean_length=fmean(len(rollout.completion.ids) for rollout in rollouts_G),
        first=right[0].text if right else None,
        shortest=shortest.text if shortest else None,
    )


def choose(scored: Sequence[Scored], config: SelectConfig) -> list[Scored]:
    """Return the rows to keep, in the order in which they are handed on.

    Raises:
        DataError: none is left.
    """
    kept = [
        row
        for row in scored
        if row.pass_rate is not None
        and config.low <= row.pass_rate <= config.high
        and (config.response == "none" or row.first is not None)
    ]
    if not kept:
        rates = [row.pass_rate for row in scored if row.pass_rate is not None]
        span = f"pass rates are {min(rates):g} to {max(rates):g}" if rates else "none was judged"
        raise DataError(
            f"select: none of {len(scored)} rows is kept ({span}; wanted {config.low:g} to "
            f"{config.high:g}{', with a right completion' * (config.response != 'none')}); start "
            "a new run with a wider window"
        )
    keys = {
        "given": lambda rate: 0.0,
        "easy": lambda rate: -rate,
        "hard": lambda rate: rate,
        "uncertain": lambda rate: abs(rate - 0.5),
    }
    key = keys[config.order]
    return sorted(kept, key=lambda row: key(row.pass_rate))[: config.limit]


def write_selection(folder: Path, stage: str, kept: Sequence[Scored], config: SelectConfig) -> None:
    """Write the rows that a stage kept into the run folder; readers see all of them or none."""
    path = _path(folder, stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "id": row.id,
            "pass_rate": row.pass_rate,
            "mean_length": row.mean_length,
            "response": None if config.response == "none" else asdict(row)[config.response],
        }
        for row in kept
    ]
    temporary = path.with_name(f".{path.name}.writing")
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def read_selection(folder: Path, stage: str) -> list[Mapping[str, object]] | None:
    """Return the lines of a selection; None where the stage has not made it yet.

    Raises:
        RunError: a line is not JSON.
    """
    path = _path(folder, stage)
    if not path.is_file():
        return None
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise RunError(f"{path}: was damaged ({error}); start a new run") from error


def hand_on(pool: Sequence[Row], kept: Sequence[Mapping[str, object]]) -> list[Row]:
    """Return the rows of the pool that were kept, with what is now known of them.

    Raises:
        RunError: a row is not in the pool.
    """
    by_id = {row.id: row for row in pool}
    rows = []
    for line in kept:
        row = by_id.get(str(line["id"]))
        if row is None:
            raise RunError(
                f"row {line['id']} was selected and is not in the pool any more; the data changed, "
                "start a new run"
            )
        rate, response = float(str(line["pass_rate"])), line["response"]
        known = {"pass_rate": rate, "mean_length": line["mean_length"]}
        rows.append(
            dataclasses.replace(
                row,
                difficulty=1 - rate,
                response=row.response if response is None else str(response),
                extra={**row.extra, **known},
            )
        )
    return rows


def _path(folder: Path, stage: str) -> Path:
    return folder / "data" / f"selected-{stage}.jsonl"
