"""From easy rows to hard ones, by their column `difficulty`.

`easy_to_hard` walks through the rows in ascending order, as Observe-R1's NeuraLadder does (arXiv
2505.12432): difficulty, then complexity, neighbouring levels mixed where `levels` says so.
`self_paced` draws from the easiest share of the rows, which grows with the stage (self-paced
learning).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmrl.curriculum.contract import GroupResult
from mmrl.data.sampler import RowSampler, shuffled
from mmrl.errors import DataError, RunError
from mmrl.schedule import Schedule
from mmrl.types import Row


def easy_to_hard(
    rows: Sequence[Row], *, seed: int, then_by: str | None = None, levels: int | None = None
) -> RowSampler:
    """Take the rows of each epoch in ascending order; equal ones in an order of seed and epoch.

    Args:
        rows: At least one.
        seed: Of the orders.
        then_by: A number in `extra` that orders rows of equal difficulty.
        levels: Cut the order into so many equal parts and shuffle each.

    Raises:
        DataError: a row has no difficulty, or not the number that `then_by` names.
    """
    keys = [
        (difficulty, 0.0 if then_by is None else _number(row, then_by))
        for difficulty, row in zip(difficulties(rows), rows, strict=True)
    ]

    def arrange(order: list[int]) -> list[int]:
        ascending = sorted(order, key=keys.__getitem__)
        if levels is None:
            return ascending
        level = {place: rank * levels // len(order) for rank, place in enumerate(ascending)}
        return sorted(order, key=level.__getitem__)

    return RowSampler(len(rows), seed, arrange)


def difficulties(rows: Sequence[Row]) -> list[float]:
    """Return the rows' difficulties.

    Raises:
        DataError: one line; rows have none.
    """
    missing = [row for row in rows if row.difficulty is None]
    if missing:
        raise DataError(
            f"sampling: {len(missing)} of {len(rows)} rows have no 'difficulty' to be ordered by; "
            f"the first is row {missing[0].id} ({missing[0].where}); score them first, or choose "
            "another sampling.kind"
        )
    return [row.difficulty for row in rows if row.difficulty is not None]


class SelfPacedSampler:
    """Takes rows at random among the easiest ones, each once before any comes again."""

    def __init__(self, rows: Sequence[Row], *, seed: int, share: Schedule) -> None:
        """Start with no row taken.

        Args:
            rows: At least one.
            seed: Of the orders.
            share: Of the rows that is open, easiest first, by progress.

        Raises:
            DataError: a row has no difficulty.
        """
        known = difficulties(rows)
        ascending = sorted(shuffled(len(rows), f"{seed}/ranks"), key=known.__getitem__)
        self._rank = {place: rank for rank, place in enumerate(ascending)}
        self._known, self._seed, self._share = known, seed, share
        self._round, self._taken = 0, set[int]()
        self._open = self._opened(0.0)

    def take(self, count: int, progress: float = 0.0) -> list[int]:
        """Return the next places among those that are open at this progress."""
        self._open = self._opened(progress)
        taken: list[int] = []
        while len(taken) < count:
            order = shuffled(len(self._rank), f"{self._seed}/{self._round}")
            free = [p for p in order if self._rank[p] < self._open and p not in self._taken]
            chosen = free[: count - len(taken)]
            self._taken |= {*chosen}
            taken += chosen
            if len(taken) < count:
                self._round, self._taken = self._round + 1, set()
        return taken

    def observe(self, results: Sequence[GroupResult]) -> None:
        """Hear how groups did, which changes nothing here."""

    def exhausted(self) -> bool:
        """Return False: another round always follows."""
        return False

    def metrics(self) -> dict[str, float]:
        """`sampler/open_frac`, and `sampler/hardest`, the highest difficulty that is open."""
        hardest = max(self._known[place] for place, rank in self._rank.items() if rank < self._open)
        return {
            "sampler/open_frac": self._open / len(self._rank),
            "sampler/hardest": hardest,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the round and the places that it has taken."""
        return {"round": self._round, "taken": sorted(self._taken)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            RunError: the state is none, or names rows that are not there.
        """
        taken = state.get("taken")
        if taken is None or not {*taken} <= {*self._rank}:
            raise RunError(
                f"the sampler's state does not fit {len(self._rank)} rows; the data changed, "
                "start a new run"
            )
        self._round, self._taken = state["round"], set(taken)

    def _opened(self, progress: float) -> int:
        # rounded first, so that a share of 0.3 of 10 rows is 3 and not 4
        return max(1, math.ceil(round(self._share.at(progress) * len(self._rank), 9)))


def _number(row: Row, name: str) -> float:
    value = row.extra.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(
            f"sampling.then_by: row {row.id} ({row.where}) has no number {name!r} in 'extra', "
            f"found {value!r}"
        )
    return float(value)
