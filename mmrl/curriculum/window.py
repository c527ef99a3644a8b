"""Rows of middling difficulty, by the pass rates that training itself meets.

After Online Difficulty Filtering (arXiv 2504.03380): a row teaches where its pass rate lies between
`low` and `high`. Here what is known of a row decides before it is sampled again, so that nothing is
thrown away; `filter: band` judges the group that was just sampled, as the paper does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmrl.curriculum.contract import GroupResult
from mmrl.data.sampler import RowSampler
from mmrl.difficulty import in_window
from mmrl.errors import RunError
from mmrl.schedule import Schedule


class WindowSampler:
    """Visits rows in the order of (seed, epoch) and passes over those outside the window."""

    def __init__(
        self,
        count: int,
        seed: int,
        *,
        low: Schedule,
        high: Schedule,
        memory: float = 0.5,
        patience: int = 3,
    ) -> None:
        """Start with nothing known.

        Args:
            count: Of the rows.
            seed: Of the orders.
            low: Lowest pass rate, by progress.
            high: Highest pass rate, by progress.
            memory: Weight of what was known when a row is met again.
            patience: Visits at which a row outside is passed over before it is tried again.
        """
        self._count, self._low, self._high = count, low, high
        self._memory, self._patience = memory, patience
        self._visits = RowSampler(count, seed)
        self._rates: dict[int, float] = {}
        self._passed: dict[int, int] = {}
        self._window = (low.at(0.0), high.at(0.0))
        self._passed_over = 0

    def take(self, count: int, progress: float = 0.0) -> list[int]:
        """Return the next places that are inside the window, not met yet, or long not tried."""
        self._window = (self._low.at(progress), self._high.at(progress))
        taken: list[int] = []
        while len(taken) < count:
            place = self._visits.take(1)[0]
            if self._wants(place):
                self._passed.pop(place, None)
                taken.append(place)
            else:
                self._passed[place] = self._passed.get(place, 0) + 1
                self._passed_over += 1
        return taken

    def observe(self, results: Sequence[GroupResult]) -> None:
        """Note the pass rates."""
        for result in results:
            if result.accuracy is not None:
                old = self._rates.get(result.place, result.accuracy)
                self._rates[result.place] = (
                    self._memory * old + (1 - self._memory) * result.accuracy
                )

    def exhausted(self) -> bool:
        """Return False: patience ends before the rows do."""
        return False

    def metrics(self) -> dict[str, float]:
        """The window, the shares of rows that are known and inside, and visits passed over."""
        inside = sum(in_window(rate, self._window) for rate in self._rates.values())
        return {
            "sampler/low": self._window[0],
            "sampler/high": self._window[1],
            "sampler/known_frac": len(self._rates) / self._count,
            "sampler/inside_frac": inside / len(self._rates) if self._rates else 0.0,
            "sampler/passed_over": float(self._passed_over),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the visits, the pass rates and how long rows were passed over."""
        return {
            "visits": self._visits.state_dict(),
            "rates": sorted(self._rates.items()),
            "passed": sorted(self._passed.items()),
            "passed_over": self._passed_over,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            RunError: the state is none of this sampler, or was taken with other rows.
        """
        rates = dict(state.get("rates", [[-1, 0.0]]))
        if not all(0 <= place < self._count for place in rates):
            raise RunError(
                f"the sampler's state does not fit {self._count} rows; the data changed, "
                "start a new run"
            )
        self._visits.load_state_dict(state["visits"])
        self._rates, self._passed_over = rates, state["passed_over"]
        self._passed = dict(state["passed"])

    def _wants(self, place: int) -> bool:
        rate = self._rates.get(place)
        if rate is None or in_window(rate, self._window):
            return True
        return self._passed.get(place, 0) >= self._patience
