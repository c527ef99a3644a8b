"""How much of what others wrote is learned from, beside the policy's own completions: teacher
traces in the group (AMPO, arXiv 2510.02227), and the weight of imitation in the loss (AMFT, arXiv
2508.06944).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from torch import Tensor


def comprehension(answer_logprobs: Sequence[float]) -> float:
    """How well the policy follows a teacher: the geometric mean of its probabilities of the right
    answer's tokens after the teacher's reasoning.

    The paper's rule; the authors' code takes the arithmetic mean.

    >>> round(comprehension([math.log(0.9), math.log(0.4)]), 6)
    0.6
    """
    return min(math.exp(fmean(answer_logprobs)), 1.0) if answer_logprobs else 0.0


def choose_teachers(
    comprehensions: Sequence[float], lengths: Sequence[int], *, most: int = 2
) -> list[int]:
    """Which right teacher traces take the places of wrong completions: at most `most`, those that
    the policy comprehends best, of equals the shorter one.
    """
    order = sorted(
        range(len(comprehensions)), key=lambda place: (-comprehensions[place], lengths[place])
    )
    return order[:most]


def imitation_gain(
    validation_gradient: Tensor,
    imitation_gradient: Tensor,
    reinforcement_gradient: Tensor,
    *,
    lr: float,
) -> float:
    """By how much the validation loss falls, to first order, per unit of weight that moves from
    reinforcement to imitation: after one step theta - lr ((1 - w) reinforcement + w imitation).

    Positive where imitation helps. The authors' code has the derivative of the validation loss
    itself, and adds it to the weight, which moves the weight to where that loss is larger.
    """
    apart = imitation_gradient - reinforcement_gradient
    return lr * float(validation_gradient.flatten().double() @ apart.flatten().double())


@dataclass(kw_only=True, slots=True)
class ImitationWeight:
    """The weight w of imitation in w SFT + (1 - w) RL, between its bounds (AMFT).

    It rises where imitation lowers the validation loss, and where the policy's entropy is below the
    target, which keeps exploration from collapsing.
    """

    weight: float = 0.5
    target_entropy: float | None = None
    """In the paper the mean entropy after the cold start; the first one heard unless given."""
    gain_rate: float = 1e-4
    entropy_rate: float = 5e-4
    low: float = 0.05
    high: float = 0.95

    def update(self, *, entropy: float | None, gain: float = 0.0) -> float:
        """Move the weight after a step, and return it; `gain` is `imitation_gain` in the steps in
        which it was computed (every 20th in the paper), else 0. No entropy moves nothing.
        """
        if self.target_entropy is None:
            self.target_entropy = entropy
        moved = self.gain_rate * gain
        if entropy is not None and self.target_entropy is not None:
            moved += self.entropy_rate * (self.target_entropy - entropy)
        self.weight = min(max(self.weight + moved, self.low), self.high)
        return self.weight

    def state_dict(self) -> dict[str, float | None]:
        """What a resumed run needs."""
        return {"weight": self.weight, "target_entropy": self.target_entropy}

    def load_state_dict(self, state: Mapping[str, float | None]) -> None:
        """Go on where `state_dict` was taken."""
        self.weight = state["weight"] or 0.0
        self.target_entropy = state["target_entropy"]
