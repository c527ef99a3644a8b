"""Learn from all rows for some epochs, then only from those whose pass rates rose as the mean did.

LIMR (arXiv 2502.11886) scores each row by how closely its rewards over the epochs follow the mean
of all rows, and keeps the rows from a threshold on; `mmrl.difficulty.lim_scores` is the formula.
LIMR selects after a run of its own; here the stage goes on with what it has selected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmrl.curriculum.contract import GroupResult
from mmrl.data.sampler import RowSampler
from mmrl.difficulty import lim_scores
from mmrl.errors import RunError
from mmrl.seeds import derive


class LimSampler:
    """Visits all rows for `epochs` epochs, then those with a LIM score from `threshold` on."""

    def __init__(self, count: int, seed: int, *, epochs: int, threshold: float) -> None:
        """Start before the first epoch over `count` rows."""
        self._count, self._seed = count, seed
        self._epochs, self._threshold = epochs, threshold
        self._all = RowSampler(count, seed)
        self._curves: list[list[float | None]] = [[] for _ in range(count)]
        self._kept: list[int] = []
        self._chosen: RowSampler | None = None

    def take(self, count: int, progress: float = 0.0) -> list[int]:
        """Return the next places; the rows are selected where an epoch is over and heard of."""
        if self._chosen is None and self._all.epochs >= self._epochs:
            self._select([self._curve(curve) for curve in self._curves])
        if self._chosen is None:
            return self._all.take(count)
        return [self._kept[index] for index in self._chosen.take(count)]

    def observe(self, results: Sequence[GroupResult]) -> None:
        """Note the pass rates of the epochs before the selection."""
        for result in results if self._chosen is None else ():
            self._curves[result.place].append(result.accuracy)

    def exhausted(self) -> bool:
        """Return False: another epoch always follows."""
        return False

    def metrics(self) -> dict[str, float]:
        """`sampler/kept_frac`: the share of the rows that the stage learns from."""
        kept = self._count if self._chosen is None else len(self._kept)
        return {"sampler/kept_frac": kept / self._count}

    def state_dict(self) -> dict[str, Any]:
        """Return the curves, the selection and where both orders stand."""
        chosen = self._chosen.state_dict() if self._chosen else None
        return {
            "all": self._all.state_dict(),
            "curves": [[*curve] for curve in self._curves],
            "kept": [*self._kept],
            "chosen": chosen,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            RunError: the state is none of this sampler, or was taken with other rows.
        """
        if len(state.get("curves", ())) != self._count:
            raise RunError(
                f"the sampler's state does not fit {self._count} rows; the data changed, "
                "start a new run"
            )
        self._all.load_state_dict(state["all"])
        self._curves = [[*curve] for curve in state["curves"]]
        self._kept, self._chosen = [*state["kept"]], None
        if state["chosen"] is not None:
            self._chosen = self._chooser()
            self._chosen.load_state_dict(state["chosen"])

    def _curve(self, curve: list[float | None]) -> list[float | None]:
        """The pass rates of the epochs that count; a batch may reach into the next one."""
        return [*curve, *[None] * self._epochs][: self._epochs]

    def _select(self, curves: list[list[float | None]]) -> None:
        scores = lim_scores(curves)
        self._kept = [
            place
            for place, score in enumerate(scores)
            if score is not None and score >= self._threshold
        ]
        if not self._kept:
            best = max((score for score in scores if score is not None), default=None)
            raise RunError(
                f"sampling.threshold: after {self._epochs} epochs no row has a LIM score of "
                f"{self._threshold:g} or more, the highest is {best}; start a new run with a "
                "lower threshold"
            )
        self._chosen = self._chooser()

    def _chooser(self) -> RowSampler:
        return RowSampler(len(self._kept), derive(self._seed, "chosen"))
