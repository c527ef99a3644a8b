"""When a model thinks, and for how long: rewards of AutoThink (arXiv 2505.10832) and the thought
dropout of TON (arXiv 2505.16854).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from statistics import fmean, stdev

EMPTY_THOUGHT = "\n\n"
_THOUGHT = re.compile(r"(<think>)(?:(?!</think>).)*(</think>)", re.DOTALL)


def drop_thought(response: str) -> str:
    """The response with an empty thought, as TON's cold start has in half of its rows.

    >>> drop_thought("<think>long</think><answer>3</answer>")
    '<think>\\n\\n</think><answer>3</answer>'
    """
    return _THOUGHT.sub(rf"\1{EMPTY_THOUGHT}\2", response, count=1)


def has_thought(response: str) -> bool:
    """Whether there is a thought to drop."""
    return _THOUGHT.search(response) is not None


def autothink_rewards(thought_B: Sequence[bool], right_B: Sequence[bool | None]) -> list[float]:
    """AutoThink's rewards of a batch: 1 for what is right with a thought, 2 without, 0 for what is
    wrong with one, -1 without; 0 where there is no answer (None).
    """
    worth = {(True, True): 1.0, (True, False): 0.0, (False, True): 2.0, (False, False): -1.0}
    return [
        0.0 if right is None else worth[thought, right]
        for thought, right in zip(thought_B, right_B, strict=True)
    ]


def balance_modes(
    rewards_B: Sequence[float],
    thought_B: Sequence[bool],
    right_B: Sequence[bool | None],
    *,
    rate: float = 0.5,
    slope: float = 2.0,
) -> list[float]:
    """Rewards of a batch in which neither mode may take over (AutoThink's first stage).

    By how far a mode's share exceeds `rate`, times `slope`, its rewards move to 0 and -1 (right and
    wrong with a thought) or to 1 and -2 (without); a rate of 1 changes nothing.
    """
    share = fmean(thought_B) if thought_B else 0.0
    moved = {
        mode: min(max((part - rate) * slope, 0.0), 1.0)
        for mode, part in ((True, share), (False, 1 - share))
    }
    worth = {(True, True): 0.0, (True, False): -1.0, (False, True): 1.0, (False, False): -2.0}
    return [
        reward
        if right is None
        else (1 - moved[thought]) * reward + moved[thought] * worth[thought, right]
        for reward, thought, right in zip(rewards_B, thought_B, right_B, strict=True)
    ]


def length_terms(
    lengths_G: Sequence[int],
    right_G: Sequence[bool | None],
    *,
    alpha: float = 0.05,
    beta: float = 0.05,
) -> list[float]:
    """What a completion's length adds to its reward within its group (AutoThink's third stage).

    With z the length in standard deviations from the mean of the right (or the wrong) ones:
    exp(-alpha z) - 1 for what is right, 1 - exp(-beta z) for what is wrong; right ones that are
    shorter, and wrong ones that are longer, gain. A lone one has no term.
    """
    terms = [0.0] * len(lengths_G)
    for mode in (True, False):
        places = [place for place, right in enumerate(right_G) if right is mode]
        if len(places) < 2:
            continue
        lengths = [lengths_G[place] for place in places]
        mean, std = fmean(lengths), max(stdev(lengths), 1e-6)
        for place in places:
            z = (lengths_G[place] - mean) / std
            terms[place] = math.exp(-alpha * z) - 1 if mode else 1 - math.exp(-beta * z)
    return terms
