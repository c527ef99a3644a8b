"""How hard a row is, by four published signals; plain functions of numbers, no model and no file.

pass rate    the share of N rollouts that are right, with an interval for what N leaves open;
             a row teaches most near 0.5 (Online Difficulty Filtering, arXiv 2504.03380)
iterations   of a tree search until the first right answer (ThinkLite-VL, arXiv 2504.07934)
alignment    of a row's rewards over the epochs with the mean curve (LIMR, arXiv 2502.11886)
angles       between the hidden states of a prompt's tokens (GAIN-RL, arXiv 2506.02281)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

IntervalMethod = Literal["wilson", "clopper_pearson"]

FILTER_WINDOW = (0.2, 0.8)
"""Pass rates that Online Difficulty Filtering keeps, both ends included."""
MCTS_ITERATIONS = 50
"""Iterations after which ThinkLite-VL's search gives a row up."""
MCTS_EASY = 5
"""ThinkLite-VL drops rows that are solved within so many iterations."""
LIM_THRESHOLD = 0.6
"""LIMR keeps rows that score at least so much."""


def pass_rate_interval(
    right: int,
    tried: int,
    *,
    confidence: float = 0.95,
    method: IntervalMethod = "wilson",
) -> tuple[float, float]:
    """Return the interval in which the true pass rate lies, with that confidence.

    Args:
        right: Rollouts that were right.
        tried: Rollouts that were judged, one at least.
        confidence: Between 0 and 1.
        method: Wilson's score interval, or Clopper and Pearson's, which is never too narrow.

    Raises:
        ValueError: a number is out of its range.

    >>> [round(end, 4) for end in pass_rate_interval(4, 8)]
    [0.2152, 0.7848]
    """
    if not 0 <= right <= tried or tried < 1:
        raise ValueError(f"{right} right answers of {tried}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, but it lies between 0 and 1")
    if method == "wilson":
        return _wilson(right, tried, confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if right == 0 else _solve(lambda p: _at_least(right, tried, p), tail)
    high = 1.0 if right == tried else 1 - _solve(lambda q: _at_least(tried - right, tried, q), tail)
    return low, high


def success_variance(pass_rate: float) -> float:
    """Return p(1-p), to which a prompt's learning signal is bound from below; highest at 0.5."""
    return pass_rate * (1 - pass_rate)


def in_window(pass_rate: float, window: tuple[float, float] = FILTER_WINDOW) -> bool:
    """Tell whether Online Difficulty Filtering keeps a row: low <= p <= high.

    >>> [in_window(right / 8) for right in (1, 2, 6, 7)]
    [False, True, True, False]
    """
    low, high = window
    return low <= pass_rate <= high


def tree_priority(
    value: float, visits: int, parent_visits: int, *, exploration: float = 1.0
) -> float:
    """Return how much a node of the search wants to be visited: `value + c sqrt(ln(N) / n)`.

    Args:
        value: Rewards that were propagated through the node.
        visits: Of the node; one that was never visited comes first.
        parent_visits: Of its parent.
        exploration: The constant c.

    >>> round(tree_priority(0, 1, 4), 6), tree_priority(0, 0, 4)
    (1.17741, inf)
    """
    if visits == 0:
        return math.inf
    return value + exploration * math.sqrt(math.log(parent_visits) / visits)


def mcts_difficulty(iterations: int | None, *, limit: int = MCTS_ITERATIONS) -> float:
    """Return the share of the search that a row took, 0 to 1.

    Args:
        iterations: Iterations up to and including the one that found the first right answer,
            counted from 1; None where none did.
        limit: Iterations after which a search ends; a row that it did not solve counts one more.
    """
    if iterations is not None and not 1 <= iterations <= limit:
        raise ValueError(f"{iterations} iterations, of 1 to {limit}")
    return 1.0 if iterations is None else iterations / (limit + 1)


def mcts_keeps(iterations: int | None, *, easy: int = MCTS_EASY) -> bool:
    """Tell whether ThinkLite-VL trains on a row: it took more than `easy` iterations, or all.

    >>> mcts_keeps(5), mcts_keeps(6), mcts_keeps(None)
    (False, True, True)
    """
    return iterations is None or iterations > easy


def lim_scores(rewards_SK: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Return how closely each row's learning follows the mean of all rows (LIMR's LIM).

    `1 - sum_k (r_k - mean_k)^2 / sum_k (1 - mean_k)^2`: 1 for the mean curve itself, 0 for a row
    that is always right. A missing value is taken from the next epoch; a row that still lacks one
    has no score and no part in the mean.

    Args:
        rewards_SK: Per row, its share of right rollouts in each of K epochs; None where the row
            was not met.

    Raises:
        ValueError: the rows have different numbers of epochs.
    """
    epochs = {len(rewards) for rewards in rewards_SK}
    if len(epochs) > 1:
        raise ValueError(f"rows with {sorted(epochs)} epochs; all need the same number")
    filled_SK = [_filled(rewards) for rewards in rewards_SK]
    whole_SK = [rewards for rewards in filled_SK if rewards is not None]
    means_K = [math.fsum(column) / len(column) for column in zip(*whole_SK, strict=True)]
    room = math.fsum((1 - mean) ** 2 for mean in means_K)
    return [None if rewards is None else _lim(rewards, means_K, room) for rewards in filled_SK]


@dataclass(frozen=True, kw_only=True, slots=True)
class AngleSignal:
    """GAIN-RL's signal of one prompt; rows with the highest total are learned first."""

    intra: float
    """Mean cosine between the tokens that are the row's own, each with itself included."""
    inter: float
    """Mean cosine between those and the tokens that all rows share; 0 where none are shared."""

    @property
    def total(self) -> float:
        """What rows are ordered by."""
        return self.intra + self.inter


def angle_signal(hidden_TD: np.ndarray, shared: int = 0) -> AngleSignal:
    """Return how closely the hidden states of a prompt's tokens point the same way.

    The mean over all pairs is a product of sums of unit vectors, so it costs T*D and not T*T*D.

    Args:
        hidden_TD: One state per token of the prompt, as they enter the last layer's MLP.
        shared: The first so many tokens stand before every row: system text and examples.

    Raises:
        ValueError: no token is the row's own, or a state is not finite.
    """
    import numpy as np

    states_TD = np.asarray(hidden_TD, dtype=np.float64)
    if states_TD.ndim != 2 or not 0 <= shared < len(states_TD):
        raise ValueError(f"states of shape {states_TD.shape}, the first {shared} tokens shared")
    if not np.isfinite(states_TD).all():
        raise ValueError("a hidden state is not finite")
    norms_T1 = np.linalg.norm(states_TD, axis=1, keepdims=True)
    units_TD = states_TD / np.where(norms_T1 > 0, norms_T1, 1)
    own_D, shared_D = units_TD[shared:].sum(axis=0), units_TD[:shared].sum(axis=0)
    count = len(units_TD) - shared
    inter = float(own_D @ shared_D) / (count * shared) if shared else 0.0
    return AngleSignal(intra=float(own_D @ own_D) / count**2, inter=inter)


def angle_difficulty(signal: AngleSignal) -> float:
    """Return the signal turned round, so that what is learned first is easiest: 0 to 1."""
    return (2 - signal.total) / 3


def _wilson(right: int, tried: int, confidence: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = right / tried, z * z / tried
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / tried + spread / (4 * tried))
    # at the ends the two terms are equal, and rounding would leave a trace of 1e-17
    low = 0.0 if right == 0 else middle - half
    return low, 1.0 if right == tried else middle + half


def _at_least(right: int, tried: int, p: float) -> float:
    """Return the probability of `right` or more successes in so many trials."""
    if p <= 0 or p >= 1:
        return float(p >= 1)
    choices = math.lgamma(tried + 1)
    return math.fsum(
        math.exp(
            choices
            - math.lgamma(hits + 1)
            - math.lgamma(tried - hits + 1)
            + hits * math.log(p)
            + (tried - hits) * math.log1p(-p)
        )
        for hits in range(right, tried + 1)
    )


def _solve(rising: Callable[[float], float], wanted: float) -> float:
    """Return where a function that rises on 0 to 1 reaches the value."""
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2


def _filled(rewards: Sequence[float | None]) -> list[float] | None:
    """Fill single gaps from the next epoch; None where one stays."""
    following = [*rewards[1:], None]
    filled = [
        after if reward is None else reward
        for reward, after in zip(rewards, following, strict=True)
    ]
    whole = [reward for reward in filled if reward is not None]
    return whole if len(whole) == len(filled) else None


def _lim(rewards: Sequence[float], means_K: Sequence[float], room: float) -> float:
    if room == 0:
        return 0.0
    apart = math.fsum((reward - mean) ** 2 for reward, mean in zip(rewards, means_K, strict=True))
    return 1 - apart / room
