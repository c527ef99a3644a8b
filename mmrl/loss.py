"""The policy losses, as functions of tensors only: no model, no configuration.

Every loss is a sum over completion tokens of weight * term. The term says how the probability ratio
r = pi/pi_old meets the advantage A:

`grpo`     -min(r A, clip(r) A), mean over a completion's tokens, then over completions        arXiv
2402.03300
`dr_grpo`  the same term, sum over tokens / a constant length                                 arXiv
2503.20783
`dapo`     the same term, mean over all tokens of the rollout batch                           arXiv
2503.14476
`bnpo`     the same term, mean over the tokens of the optimizer step                          TRL's
name for local token normalisation
`cispo`    -min(r, 1 + clip_high) A log pi with the ratio detached, weights of `dapo`         arXiv
2506.13585
`gspo`     r is the geometric mean over the completion, weights of `grpo`                     arXiv
2507.18071
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

LossName = Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "gspo"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Denominators:
    """What the sums are divided by; counted over an optimizer step, so that micro-batches do not
    change the loss.
    """

    completions: float
    """Completions in the optimizer step."""
    tokens: float
    """Completion tokens in the optimizer step."""
    batch_tokens: float
    """Completion tokens in the rollout batch, divided by the optimizer steps made from it."""
    max_length: int
    """Tokens that a completion may have at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTerms:
    """Sums over a micro-batch; divided by the step's tokens they are the metrics."""

    loss: Tensor
    kl_sum: Tensor
    clipped_sum: Tensor
    ratio_max: Tensor


def policy_loss(
    name: LossName,
    *,
    logprobs_BC: Tensor,
    old_logprobs_BC: Tensor,
    reference_logprobs_BC: Tensor | None,
    advantages_B: Tensor,
    mask_BC: Tensor,
    denominators: Denominators,
    clip_low: float,
    clip_high: float,
    kl_weight: float = 0.0,
    kl_correction: bool = False,
) -> LossTerms:
    """The share of a micro-batch in the loss of its optimizer step (a scalar with gradient) and its
    metrics.

    `kl_correction` multiplies the k3 estimate by the ratio, which makes its gradient unbiased
    off-policy.
    """
    log_ratio_BC = (logprobs_BC - old_logprobs_BC) * mask_BC
    if name == "gspo":
        lengths_B = mask_BC.sum(-1, keepdim=True).clamp(min=1)
        log_ratio_BC = log_ratio_BC.sum(-1, keepdim=True) / lengths_B
    ratio_BC = log_ratio_BC.exp()
    advantages_B1 = advantages_B[:, None]
    if name == "cispo":
        terms_BC = -ratio_BC.clamp(max=1 + clip_high).detach() * advantages_B1 * logprobs_BC
        clipped_BC = ratio_BC > 1 + clip_high
    else:
        clamped_BC = ratio_BC.clamp(1 - clip_low, 1 + clip_high)
        terms_BC = -torch.minimum(ratio_BC * advantages_B1, clamped_BC * advantages_B1)
        clipped_BC = clamped_BC * advantages_B1 < ratio_BC * advantages_B1
    kl_BC = torch.zeros_like(logprobs_BC)
    if reference_logprobs_BC is not None:
        kl_BC = k3(logprobs_BC, reference_logprobs_BC)
        terms_BC = terms_BC + kl_weight * (kl_BC * ratio_BC if kl_correction else kl_BC)
    weights_BC = token_weights(name, mask_BC, denominators)
    return LossTerms(
        loss=(terms_BC * weights_BC).sum(),
        kl_sum=(kl_BC.detach() * mask_BC).sum(),
        clipped_sum=(clipped_BC.detach() * mask_BC).sum(),
        ratio_max=(ratio_BC.detach() * mask_BC).max(),
    )


def token_weights(name: LossName, mask_BC: Tensor, denominators: Denominators) -> Tensor:
    """The weight [B, C] of every token's term; zero outside the mask."""
    if name in ("grpo", "gspo"):
        return mask_BC / (mask_BC.sum(-1, keepdim=True).clamp(min=1) * denominators.completions)
    if name == "dr_grpo":
        return mask_BC / (denominators.completions * denominators.max_length)
    if name == "bnpo":
        return mask_BC / max(denominators.tokens, 1.0)
    return mask_BC / max(denominators.batch_tokens, 1.0)


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(policy || reference) per token: exp(d) - d - 1 with d =
    reference - policy. Never negative.
    """
    difference = reference_logprobs - logprobs
    return difference.exp() - difference - 1
