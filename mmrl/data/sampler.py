"""The order in which a stage visits its rows: a function of the seed and the epoch alone.

The state is two numbers, so a run that stops anywhere goes on with the very row it would have
taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmrl.errors import RunError

Arrange = Callable[[list[int]], list[int]]


class RowSampler:
    """Takes row numbers, every row once per epoch, epoch after epoch."""

    def __init__(self, count: int, seed: int, arrange: Arrange = lambda order: order) -> None:
        """Start before the first of `count` rows.

        Args:
            count: Of the rows.
            seed: Of the orders.
            arrange: Puts the shuffled row numbers of an epoch into the order in which they are
                taken; it must depend on nothing but them.

        Raises:
            ValueError: there are no rows.
        """
        if count < 1:
            raise ValueError(f"a sampler needs rows, got {count}")
        self._count, self._seed, self._arrange = count, seed, arrange
        self._epoch, self._position = 0, 0
        self._order = self.order(0)

    @property
    def epochs(self) -> int:
        """How many epochs are over."""
        return self._epoch + (self._position == self._count)

    def take(self, count: int, progress: float = 0.0) -> list[int]:
        """Return the next `count` row numbers, across the borders of epochs."""
        taken: list[int] = []
        while len(taken) < count:
            if self._position == self._count:
                self._begin(self._epoch + 1, 0)
            piece = self._order[self._position : self._position + count - len(taken)]
            self._position += len(piece)
            taken += piece
        return taken

    def order(self, epoch: int) -> list[int]:
        """Return the row numbers in the order of that epoch."""
        return self._arrange(shuffled(self._count, f"{self._seed}/{epoch}"))

    def observe(self, results: Sequence[Any]) -> None:
        """Hear how groups did, which changes nothing here."""

    def exhausted(self) -> bool:
        """Return False: another epoch always follows."""
        return False

    def metrics(self) -> dict[str, float]:
        """Return none: nothing moves."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch and how many of its rows were taken."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            RunError: the state is none, or was taken with more rows.
        """
        epoch, position = state.get("epoch", -1), state.get("position", -1)
        if epoch < 0 or not 0 <= position <= self._count:
            raise RunError(
                f"the sampler's state (epoch {epoch}, position {position}) does not fit "
                f"{self._count} rows; the data changed, start a new run"
            )
        self._begin(epoch, position)

    def _begin(self, epoch: int, position: int) -> None:
        self._epoch, self._position = epoch, position
        self._order = self.order(epoch)


def shuffled(count: int, key: str) -> list[int]:
    """Return 0 to count - 1 in an order that depends on the key alone.

    Sorts raw Philox bits, which NumPy promises never to change, keyed by a hash.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    bits = np.random.Philox(key=int.from_bytes(digest, "big")).random_raw(count)
    return np.argsort(bits, kind="stable").tolist()
