"""What a person sees while a chain runs: rows done, tokens, and what they cost.

A bar per step on a terminal; in a pipe or a log file a line every few seconds, and one at the end
of each step that asked somebody.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mmrl.coldstart.chain import OnProgress
from mmrl.coldstart.staff import Staff

_QUIET_S = 10.0


@contextmanager
def show() -> Iterator[OnProgress]:
    """Give the function that `run_chain` calls after every row."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[numbers]}", style="cyan"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks = {}

        def advance(step: str, done: int, total: int, staff: Staff) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total, numbers="")
            bar.update(tasks[step], completed=done, numbers=spent(staff.totals()))

        yield advance


def spent(totals: Mapping[str, float]) -> str:
    """Say what was asked and what it took.

    >>> spent({"asked": 2, "cached": 1, "failed": 0, "prompt_tokens": 1500,
    ...        "completion_tokens": 2500000, "cost": 1.5})
    '2 asked, 1 from the cache, 1.5k + 2.5M tokens, cost 1.50'
    """
    if not (totals["asked"] or totals["cached"] or totals["failed"]):
        return ""
    parts = [f"{totals['asked']:.0f} asked", f"{totals['cached']:.0f} from the cache"]
    parts += [f"{totals['failed']:.0f} failed"] if totals["failed"] else []
    read, written = short(totals["prompt_tokens"]), short(totals["completion_tokens"])
    parts.append(f"{read} + {written} tokens")
    parts += [f"cost {totals['cost']:.2f}"] if totals["cost"] else []
    return ", ".join(parts)


def short(count: float) -> str:
    """Write a number of tokens in few characters.

    >>> short(999), short(12_345), short(2_500_000)
    ('999', '12.3k', '2.5M')
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f}{letter}"
    return f"{count:.0f}"


def _lines() -> OnProgress:
    said = time.monotonic()
    asked: dict[str, float] = {}

    def advance(step: str, done: int, total: int, staff: Staff) -> None:
        nonlocal said
        totals = staff.totals()
        replies = totals["asked"] + totals["cached"] + totals["failed"]
        before = asked.setdefault(step, max(asked.values(), default=0.0))
        now = time.monotonic()
        if now - said >= _QUIET_S or (done == total and replies > before):
            said = now
            print(f"{step} {done}/{total}  {spent(totals)}", file=sys.stderr, flush=True)
        if done == total:
            asked[step] = replies

    return advance
