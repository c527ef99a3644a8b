"""How far a long walk over files or rows has come, how fast it goes and how long it will take.

A bar on a terminal; in a pipe or a log file a line every few seconds. Both go to standard error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[int, int | None], None]
"""Called with how many are done, and of how many; None where nobody knows."""

_QUIET_S = 10.0


@contextmanager
def progress(what: str, unit: str) -> Iterator[Report]:
    """Give a function to call with how many are done, and of how many.

    Args:
        what: What is going on, for the beginning of the line: `decoding`.
        unit: What is counted: `files`, `rows`.
    """
    if not sys.stderr.isatty():
        yield _lines(what, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}", style="cyan"),
    )
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, speed="")

        def report(done: int, total: int | None) -> None:
            speed = _speed(done, total, time.monotonic() - began, unit)
            bar.update(task, completed=done, total=total, speed=speed)

        yield report


def _lines(what: str, unit: str) -> Report:
    began = said = time.monotonic()

    def report(done: int, total: int | None) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _QUIET_S:
            said = now
            of = f"/{total}" if total is not None else ""
            speed = _speed(done, total, now - began, unit)
            print(f"{what} {done}{of}  {speed}", file=sys.stderr, flush=True)

    return report


def _speed(done: int, total: int | None, seconds: float, unit: str) -> str:
    """Say the rate so far and the time that is left at that rate.

    >>> _speed(50, 200, 2.0, "rows")
    '25 rows/s, 0:06 left'
    """
    if done <= 0 or seconds <= 0:
        return ""
    rate = done / seconds
    shown = f"{rate:.0f} {unit}/s" if rate >= 10 else f"{rate:.2g} {unit}/s"
    if total is None:
        return shown
    left = round((total - done) / rate)
    hours, minutes, rest = left // 3600, left // 60 % 60, left % 60
    clock = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
    return f"{shown}, {clock} left"
