"""What a person sees while a run goes on: one bar per stage with the numbers that tell whether it
learns. In a pipe or a log file it
is a line every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_QUIET_SECONDS = 10.0
_SHOWN = {
    "reward/mean": "reward",
    "reward/accuracy": "accuracy",
    "group/zero_spread_frac": "zero-spread",
    "completion/length": "length",
    "policy/loss": "loss",
    "policy/entropy": "entropy",
}


@dataclass(kw_only=True, slots=True)
class Screen:
    """Prints to a terminal, or in plain lines where there is none."""

    console: Console = field(default_factory=lambda: Console(stderr=True))
    _said: float = 0.0

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int, *, done: int = 0) -> Iterator[Bar]:
        """A progress bar over `total` steps of which `done` were done before."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            _Numbers(),
            TimeRemainingColumn(compact=True),
        )
        with Progress(
            *columns, console=self.console, disable=not self.console.is_terminal, transient=False
        ) as progress:
            yield Bar(
                self,
                title,
                total,
                progress,
                progress.add_task(title, total=total, completed=done, numbers=""),
                done,
            )

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; all columns but the first are right-aligned."""
        table = Table(title=title, title_justify="left")
        for place, column in enumerate(columns):
            table.add_column(column, justify="left" if place == 0 else "right")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)


@dataclass(slots=True)
class Bar:
    """One running bar."""

    screen: Screen
    title: str
    total: int
    progress: Progress
    task: int
    done: int
    _began: float = field(default_factory=time.monotonic)
    _spoke: bool = False

    def advance(
        self,
        count: int = 1,
        metrics: Mapping[str, float] | None = None,
        *,
        tokens_per_second: float | None = None,
        idle_frac: float | None = None,
    ) -> None:
        """Move on by `count` steps and show the numbers."""
        self.done += count
        numbers = numbers_line(metrics or {}, tokens_per_second, idle_frac)
        self.progress.update(self.task, advance=count, numbers=numbers)  # type: ignore[arg-type]
        if self.screen.console.is_terminal:
            return
        now = time.monotonic()
        # What was over soon needs no line of its own, unless it has numbers to tell.
        last = self.done == self.total and (self._spoke or bool(metrics))
        if last or now - max(self.screen._said, self._began) > _QUIET_SECONDS:
            self._spoke = True
            self.screen._said = now
            self.screen.say(f"{self.title} {self.done}/{self.total}  {numbers}")


def numbers_line(
    metrics: Mapping[str, float],
    tokens_per_second: float | None,
    idle_frac: float | None = None,
) -> str:
    """The numbers that a person wants, in one line."""
    shown = [f"{name} {metrics[key]:.3g}" for key, name in _SHOWN.items() if key in metrics]
    if tokens_per_second is not None:
        shown.append(f"{tokens_per_second:.0f} tok/s")
    if idle_frac is not None:
        shown.append(f"idle {idle_frac:.0%}")
    return "  ".join(shown)


class _Numbers(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields.get("numbers", ""), style="cyan")
