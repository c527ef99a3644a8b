"""Truncated PPO (T-PPO, arXiv 2506.15050): completions are sampled window by window, an unfinished
one goes on in the next step, and each step learns from the tokens of its own window.

The advantage of a window that is cut needs no end of the completion: the value of the state after
the cut is taken to be that of the state before it. The discount, its decay and the window's length
are not in the sources at hand, so none has a default.
"""

from __future__ import annotations

from collections.abc import Sequence


def window_advantages(
    values: Sequence[float], *, reward: float | None, discount: float, decay: float
) -> list[float]:
    """Extended generalised advantage estimates of the tokens of one window.

    Args:
        values: A critic's value of the state before each token.
        reward: The completion's score when it ends in this window; None when it is cut.
        discount: Of the next state's value (gamma).
        decay: Of the sum over later tokens (lambda).

    >>> [round(a, 6) for a in window_advantages([0.2, 0.5, 0.4], reward=None, discount=1, decay=1)]
    [0.2, -0.1, 0.0]
    """
    if not values:
        return []
    after_last = discount * values[-1] if reward is None else reward
    advantages = [after_last - values[-1]]
    for value, after in zip(values[-2::-1], values[:0:-1], strict=True):
        delta = discount * after - value
        advantages.append(delta + discount * decay * advantages[-1])
    return advantages[::-1]


def window_mask(length: int, *, start: int, window: int) -> list[int]:
    """1 on the tokens of a completion of `length` that a window from `start` on has sampled; only
    these move the policy.
    """
    return [int(start <= place < start + window) for place in range(length)]
