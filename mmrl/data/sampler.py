"""The order in which a stage visits its rows: a function of the seed and the epoch alone.

The state is two numbers, so a run that stops anywhere goes on with the very row it would have
taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from mmrl.errors import RunError


class RowSampler:
    """Takes row numbers, every row once per epoch, epoch after epoch."""

    def __init__(self, count: int, seed: int) -> None:
        """Start before the first of `count` rows.

        Raises:
            ValueError: there are no rows.
        """
        if count < 1:
            raise ValueError(f"a sampler needs rows, got {count}")
        self._count, self._seed = count, seed
        self._epoch, self._position = 0, 0
        self._order = self.order(0)

    def take(self, n: int) -> list[int]:
        """Return the next `n` row numbers, across the borders of epochs."""
        taken: list[int] = []
        while len(taken) < n:
            if self._position == self._count:
                self._begin(self._epoch + 1, 0)
            piece = self._order[self._position : self._position + n - len(taken)]
            self._position += len(piece)
            taken += piece
        return taken

    def order(self, epoch: int) -> list[int]:
        """Return the row numbers in the order of that epoch.

        Sorts raw Philox bits, which NumPy promises never to change, keyed by a hash of seed and
        epoch.
        """
        key = hashlib.blake2b(f"{self._seed}/{epoch}".encode(), digest_size=16).digest()
        bits = np.random.Philox(key=int.from_bytes(key, "big")).random_raw(self._count)
        return np.argsort(bits, kind="stable").tolist()

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and how many of its rows were taken."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
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
