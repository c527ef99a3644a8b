"""Gold traces as an imperfect teacher writes them; no pipeline.

Cold-start traces are seldom all right: they come from a model with habits. Here the teacher takes
half of the values of each task for another one, always the same, in a share of the rows where they
occur. The row's answer stays true, so that a verifier can teach what the traces do not.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any


def with_slips(
    rows: Sequence[dict[str, Any]], shares: Mapping[str, float], stream: str
) -> list[dict[str, Any]]:
    """Return the rows, some with the trace of a row of another answer.

    Args:
        rows: Rows with a `response`.
        shares: By task, how often the teacher slips on a value that it confuses, 0 to 1.
        stream: Seeds which values it confuses and where it slips.
    """
    traces: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        traces[_value(row)].append(row["response"])
    habits = _habits(list(traces), stream)
    rng = Random(f"slips/{stream}")
    taught = []
    for row in rows:
        mistaken = habits.get(_value(row))
        if mistaken is not None and rng.random() < shares.get(row["source"], 0.0):
            taught.append({**row, "response": rng.choice(traces[mistaken])})
        else:
            taught.append(row)
    return taught


def _habits(
    values: Sequence[tuple[str, str]], stream: str
) -> dict[tuple[str, str], tuple[str, str]]:
    """Say for which value the teacher takes each of the values that it confuses."""
    by_task: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for value in sorted(values):
        by_task[value[0]].append(value)
    habits = {}
    for task, known in by_task.items():
        Random(f"habits/{task}/{stream}").shuffle(known)
        for place, value in enumerate(known[: (len(known) + 1) // 2]):
            if len(known) > 1:
                habits[value] = known[(place + 1) % len(known)]
    return habits


def _value(row: dict[str, Any]) -> tuple[str, str]:
    return row["source"], json.dumps(row["answer"])
