"""How the probability ratio r = pi / pi_old of a token, or of a completion, meets the advantage A:
the term of each policy loss, before tokens are weighed.

Every function takes log-ratios [B, C] (zero outside the mask) and advantages [B, 1] or [B, C], and
returns terms to be minimised, and which tokens were clipped. A term [B, 1] is the same for all
tokens of a completion.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Terms = tuple[Tensor, Tensor]


def clipped(
    log_ratio: Tensor, advantages: Tensor, *, low: float, high: float, cap: float | None = None
) -> Terms:
    """-min(r A, clip(r, 1 - low, 1 + high) A), as in PPO (arXiv 1707.06347).

    `cap` bounds r from above where nothing else does, for negative advantages: two-sided clipping
    (INTELLECT-2, arXiv 2505.07291), the same as dual clip (arXiv 1912.09729).
    """
    ratio = log_ratio.exp()
    clamped = ratio.clamp(1 - low, 1 + high)
    free = ratio if cap is None else ratio.clamp(max=cap)
    hit = (clamped * advantages < ratio * advantages) | (free * advantages != ratio * advantages)
    return -torch.minimum(free * advantages, clamped * advantages), hit


def cispo(log_ratio: Tensor, advantages: Tensor, logprobs: Tensor, *, high: float) -> Terms:
    """-min(r, 1 + high) A log pi with the ratio detached, so that no token loses its gradient
    (MiniMax-M1, arXiv 2506.13585).
    """
    ratio = log_ratio.detach().exp()
    return -ratio.clamp(max=1 + high) * advantages * logprobs, ratio > 1 + high


def soft_gated(
    log_ratio: Tensor, advantages: Tensor, *, temperatures: tuple[float, float]
) -> Terms:
    """-(4 / tau) sigmoid(tau (r - 1)) A: a gate that closes smoothly where others clip (SAPO, arXiv
    2511.20347).

    `temperatures` are tau for positive advantages and for the others.
    """
    positive, other = temperatures
    tau = torch.full_like(advantages, other).masked_fill(advantages > 0, positive)
    gate = torch.sigmoid(tau * (log_ratio.exp() - 1)) * 4 / tau
    return -gate * advantages, torch.zeros_like(gate, dtype=torch.bool)


def geometric_mean(
    log_ratio_BC: Tensor, advantages_B1: Tensor, mask_BC: Tensor, *, low: float, high: float
) -> Terms:
    """-A times the geometric mean over a completion's tokens of the ratios, each clipped to
    [exp(-low), exp(high)] on the side on which A pushes it (GMPO, arXiv 2507.20673).

    The mean is over the tokens of `mask_BC`.
    """
    clamped_BC = log_ratio_BC.clamp(-low, high)
    kept_BC = torch.where(
        advantages_B1 > 0,
        torch.minimum(log_ratio_BC, clamped_BC),
        torch.maximum(log_ratio_BC, clamped_BC),
    )
    mean_B1 = (kept_BC * mask_BC).sum(-1, keepdim=True) / _lengths(mask_BC)
    return -mean_B1.exp() * advantages_B1, kept_BC != log_ratio_BC


def gamma_weighted(
    log_ratio_BC: Tensor, advantages_B1: Tensor, logprobs_BC: Tensor, mask_BC: Tensor
) -> Terms:
    """-phi(w) A log pi with w the ratio of the whole completion and phi(w) = exp(l (1 - w)) w^k
    detached (VESPO, arXiv 2602.10693); k, l are 2, 3 for positive advantages and 3, 2 for others.
    """
    log_w_B1 = (log_ratio_BC.detach().clamp(-20, 20) * mask_BC).sum(-1, keepdim=True)
    # the bounds of the authors' code, which keep the powers finite
    log_w_B1 = log_w_B1.clamp(math.log(1e-8), 20)
    power = torch.where(advantages_B1 >= 0, 2.0, 3.0)
    decay = torch.where(advantages_B1 >= 0, 3.0, 2.0)
    phi_B1 = (decay + power * log_w_B1 - decay * log_w_B1.exp()).exp()
    return -phi_B1 * advantages_B1 * logprobs_BC, torch.zeros_like(logprobs_BC, dtype=torch.bool)


def bellman(
    log_ratio_BC: Tensor,
    advantages: Tensor,
    mask_BC: Tensor,
    *,
    mean_log_ratio_BC: Tensor,
    scale: float = 1.0,
) -> Terms:
    """(Q - target)^2 with Q = scale log r the value of the uniform random policy, and as target
    A plus the mean over the vocabulary of the next token's Q, detached (ROVER, arXiv 2509.24981).

    The paper's A is score - group mean. `mean_log_ratio_BC` is, for every position, the mean of
    log pi - log pi_old over all tokens that may stand there.
    """
    q_BC = scale * log_ratio_BC
    next_BC = torch.nn.functional.pad((scale * mean_log_ratio_BC * mask_BC)[:, 1:], (0, 1))
    target_BC = (advantages + next_BC).detach()
    return (q_BC - target_BC).square(), torch.zeros_like(q_BC, dtype=torch.bool)


def shaped_imitation(logprobs: Tensor, advantages: Tensor, *, gamma: float = 0.1) -> Tensor:
    """-A p / (p + gamma) with p = pi of a token that another model wrote (LUFFY, arXiv 2504.14945).

    The gradient in p is gamma / (p + gamma)^2, largest for the tokens that the policy would not
    have written itself. The other model's probability counts as 1, and nothing is clipped.
    """
    probability = logprobs.exp()
    return -probability / (probability + gamma) * advantages


def completion_ratio(log_ratio_BC: Tensor, mask_BC: Tensor) -> Tensor:
    """The mean log-ratio [B, 1] over each completion, whose ratio GSPO clips (arXiv 2507.18071)."""
    return (log_ratio_BC * mask_BC).sum(-1, keepdim=True) / _lengths(mask_BC)


def _lengths(mask_BC: Tensor) -> Tensor:
    return mask_BC.sum(-1, keepdim=True).clamp(min=1)
