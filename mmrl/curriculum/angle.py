"""Rows in the order of the angles between their tokens' hidden states, the most parallel first.

GAIN-RL (arXiv 2506.02281): rank the rows once by their angle signal, which is in
`mmrl.difficulty`, and draw each batch from a bell curve over the ranks, without replacement. The
curve moves on when the batch was answered well and when its states are still parallel:

    step = speed * (tanh(sensitivity * (accuracy - target)) + tanh(sensitivity * angle))

cut to 0 ... `most`. The published code halves a reward of 2 for a right answer to get the accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from mmrl.curriculum.contract import GroupResult
from mmrl.errors import RunError
from mmrl.seeds import derive

Angles = Callable[[Sequence[int]], list[float]]
"""The angle signals of the rows at some places, by the policy as it is now."""


class AngleSampler:
    """Draws rows around a rank that moves from the most parallel ones to the least."""

    def __init__(
        self,
        count: int,
        seed: int,
        angles: Angles,
        *,
        width: float = 1000.0,
        speed: float = 500.0,
        sensitivity: float = 2.0,
        target: float = 0.5,
        most: float = 1000.0,
    ) -> None:
        """Start at the first rank; the rows are ranked when the first of them are taken.

        Args:
            count: Of the rows.
            seed: Of the draws.
            angles: Measures rows; called on all rows once, then on each batch.
            width: Standard deviation of the curve, in ranks.
            speed: Ranks that either term moves the curve at most.
            sensitivity: Of both terms.
            target: Accuracy from which the curve moves on.
            most: Ranks that it moves at most.
        """
        self._count, self._seed, self._angles = count, seed, angles
        self._width, self._speed, self._most = width, speed, most
        self._sensitivity, self._target = sensitivity, target
        self._ranking: list[int] = []
        self._middle, self._draws = 0.0, 0
        self._angle = 0.0

    def take(self, count: int, progress: float = 0.0) -> list[int]:
        """Return places around the curve's middle, in the order of their ranks."""
        if not self._ranking:
            signals = self._angles(range(self._count))
            self._ranking = sorted(range(self._count), key=lambda place: -signals[place])
        taken: list[int] = []
        while len(taken) < count:
            ranks = self._draw(min(count - len(taken), self._count))
            taken += [self._ranking[rank] for rank in ranks]
        return taken

    def observe(self, results: Sequence[GroupResult]) -> None:
        """Move the curve on by how well the rows were answered and how parallel they still are."""
        known = [result.accuracy for result in results if result.accuracy is not None]
        if not known:
            return
        self._angle = fmean(self._angles([result.place for result in results]))
        self._middle += movement(
            fmean(known),
            self._angle,
            speed=self._speed,
            sensitivity=self._sensitivity,
            target=self._target,
            most=self._most,
        )
        self._middle = min(self._middle, self._count - 1.0)

    def exhausted(self) -> bool:
        """Return False: the last rows are drawn again and again."""
        return False

    def metrics(self) -> dict[str, float]:
        """`sampler/middle`, the rank around which rows are drawn, and `sampler/angle`."""
        return {"sampler/middle": self._middle, "sampler/angle": self._angle}

    def state_dict(self) -> dict[str, Any]:
        """Return the ranking, the curve's middle and the number of draws."""
        return {
            "ranking": [*self._ranking],
            "middle": self._middle,
            "draws": self._draws,
            "angle": self._angle,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            RunError: the state is none of this sampler, or ranks other rows.
        """
        ranking = state.get("ranking")
        if ranking is None or (ranking and sorted(ranking) != [*range(self._count)]):
            raise RunError(
                f"the sampler's state does not rank {self._count} rows; the data changed, "
                "start a new run"
            )
        self._ranking, self._middle = [*ranking], state["middle"]
        self._draws, self._angle = state["draws"], state["angle"]

    def _draw(self, count: int) -> list[int]:
        """So many different ranks by the curve: the largest of log-weight plus Gumbel noise."""
        keys = []
        for rank in range(self._count):
            share = (derive(self._seed, "draw", self._draws, rank) + 0.5) / 2**63
            noise = -math.log(-math.log(share))
            keys.append(noise + log_weight(rank, self._middle, self._width))
        self._draws += 1
        return sorted(sorted(range(self._count), key=lambda rank: -keys[rank])[:count])


def log_weight(rank: int, middle: float, width: float) -> float:
    """Return the logarithm of a rank's weight on the bell curve, up to a constant."""
    return -0.5 * ((rank - middle) / width) ** 2


def movement(
    accuracy: float,
    angle: float,
    *,
    speed: float = 500.0,
    sensitivity: float = 2.0,
    target: float = 0.5,
    most: float = 1000.0,
) -> float:
    """Return by how many ranks the curve moves on.

    >>> round(movement(0.25, 0.3), 6), movement(0.0, 0.3)
    (37.466205, 0.0)
    """
    right = math.tanh(sensitivity * (accuracy - target))
    parallel = math.tanh(sensitivity * angle)
    return min(max(speed * right + speed * parallel, 0.0), most)
