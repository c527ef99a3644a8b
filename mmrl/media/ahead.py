"""Rows whose media are decoded before they are asked for: what is under way in worker processes,
and for how many steps it is kept.

Looking ahead only saves time: a guess that was wrong is given up, and an error of a row is raised
when the row is asked for, never for a guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from mmrl.media.pool import Pool
from mmrl.recipe import Processed, Recipe
from mmrl.types import Row

Key = tuple[str, str]
"""Where a row stands, and its id."""


@dataclass(kw_only=True, slots=True)
class Ahead:
    """Rows in the hands of workers. Where `steps` are looked ahead, what was sent in a step is kept
    until so many steps after it are over.
    """

    pool: Pool
    steps: int
    _now: int = 0
    _sent: dict[Key, _Sent] = field(default_factory=dict)

    def send(self, recipe: Recipe, row: Row) -> None:
        """Have a row made, unless it is under way."""
        key = (row.where, row.id)
        if key not in self._sent:
            self._sent[key] = _Sent(made=self.pool.submit(recipe, row), step=self._now)
        self._sent[key].step = self._now

    def take(self, recipe: Recipe, row: Row) -> tuple[Processed, bool]:
        """What was made of a row, and whether it was ready; waits, and sends it where nobody has.

        Raises whatever went wrong with the row.
        """
        self.send(recipe, row)
        made = self._sent.pop((row.where, row.id)).made
        ready = made.done()
        return made.result(), ready

    def end_step(self) -> Iterator[Processed]:
        """Give up what nobody has asked for in time; return what had been made of it."""
        late = [key for key, sent in self._sent.items() if sent.step <= self._now - self.steps]
        self._now += 1
        for made in [self._sent.pop(key).made for key in late]:
            if not made.cancel() and made.done() and made.exception() is None:
                yield made.result()

    def close(self) -> None:
        """End the workers."""
        self._sent.clear()
        self.pool.close()


@dataclass(kw_only=True, slots=True)
class _Sent:
    made: Future[Processed]
    step: int
    """In which it was sent, or last guessed again."""
