"""Corrects for a sampler that is not quite the policy, such as another engine with other kernels:
each token's term in the loss is weighted by what the trainer gives it over what the sampler gave it
(truncated importance sampling; masked in arXiv 2510.18855).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mmrl.types import Rollout


def sampling_gaps(rollouts: Sequence[Rollout], before_BC: Tensor) -> Tensor:
    """Log-prob of every token as scored minus as sampled [B, C]; zero on padding, and where nobody
    sampled.
    """
    gaps_BC = torch.zeros_like(before_BC)
    for row, rollout in enumerate(rollouts):
        if not rollout.imitated:
            sampled_C = before_BC.new_tensor(rollout.completion.logprobs)
            gaps_BC[row, : len(sampled_C)] = before_BC[row, : len(sampled_C)] - sampled_C
    return gaps_BC


def importance_weights(
    gaps_BC: Tensor,
    mask_BC: Tensor,
    *,
    level: Literal["token", "sequence"],
    mode: Literal["truncate", "mask"],
    cap: float,
) -> Tensor:
    """The weight of every token's term, [B, C], or [B, 1] where a completion has one weight.

    `truncate` makes larger weights the cap; `mask` makes them 0, so that such tokens (or
    completions) do not teach.
    """
    gaps = gaps_BC * mask_BC
    ratio = (gaps if level == "token" else gaps.sum(-1, keepdim=True)).exp()
    if mode == "truncate":
        return ratio.clamp(max=cap)
    return ratio.masked_fill(ratio > cap, 0.0)
