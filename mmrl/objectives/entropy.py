"""What the policy's uncertainty does to the objective: which tokens learn, and by how much
completions do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor


def high_entropy_threshold(entropies_M: Tensor, *, share: float) -> float:
    """The entropy from which a token is among the `share` most uncertain ones of a step (Beyond the
    80/20 Rule, arXiv 2506.01939, which lets a share of 0.2 learn).

    `entropies_M` are those of all completion tokens of the step. The quantile is interpolated; of
    no tokens it is infinite.
    """
    if not len(entropies_M):
        return math.inf
    # torch.quantile refuses more than 2^24 numbers; this is the same interpolation by sorting
    ordered_M = entropies_M.float().sort().values
    place = (1 - share) * (len(ordered_M) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered_M) - 1)
    return float(torch.lerp(ordered_M[below], ordered_M[above], place - below))


def modulate_by_entropy(
    advantages_B: Sequence[float],
    entropies_BS: Sequence[Sequence[float]],
    *,
    sharpness: float = 1.0,
    clarity: float = 1.0,
    clarity_weight: float = 0.0,
) -> list[list[float]]:
    """Advantages [B][S] of the steps S that each completion is made of (EMPG, arXiv 2509.09265).

    With h a step's mean entropy, scaled to [0, 1] over the batch: the completion's advantage times
    exp(-sharpness h) over that factor's batch mean, plus `clarity_weight` exp(-clarity h') with h'
    that of the next step (nothing after the last one), and then less the batch mean. So confident
    steps move more in the direction of their advantage, and what leads to clear steps is rewarded.
    """
    flat = [entropy for entropies_S in entropies_BS for entropy in entropies_S]
    if not flat:
        return [[] for _ in entropies_BS]
    low, width = min(flat), max(flat) - min(flat) + 1e-8
    scaled_BS = [[(entropy - low) / width for entropy in steps_S] for steps_S in entropies_BS]
    mean_gain = fmean(math.exp(-sharpness * h) for steps_S in scaled_BS for h in steps_S)
    modulated_BS = [
        [
            advantage * math.exp(-sharpness * h) / mean_gain
            + (clarity_weight * math.exp(-clarity * after) if after is not None else 0.0)
            for h, after in zip(steps_S, [*steps_S[1:], None], strict=True)
        ]
        if steps_S
        else []
        for advantage, steps_S in zip(advantages_B, scaled_BS, strict=True)
    ]
    centre = fmean(advantage for steps_S in modulated_BS for advantage in steps_S)
    return [[advantage - centre for advantage in steps_S] for steps_S in modulated_BS]
