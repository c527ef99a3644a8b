"""The policy losses, as functions of tensors only: no model, no configuration.

Every loss is a sum over completion tokens of weight * term. The term says how the probability ratio
r = pi/pi_old meets the advantage A (mmrl/objectives/terms.py); the weight says what a token counts:

`grpo`     -min(r A, clip(r) A), mean over a completion's tokens, then over completions
           (arXiv 2402.03300)
`dr_grpo`  the same term, sum over tokens / a constant length (arXiv 2503.20783)
`dapo`     the same term, mean over all tokens of the rollout batch (arXiv 2503.14476)
`bnpo`     the same term, mean over the tokens of the optimizer step (TRL's name for local token
           normalisation)
`cispo`    -min(r, 1 + clip_high) A log pi with the ratio detached, weights of `dapo`
           (arXiv 2506.13585)
`gspo`     r is the geometric mean over the completion, weights of `grpo` (arXiv 2507.18071)
`luspo`    the term of `gspo`, sum over a completion's tokens, mean over completions
           (arXiv 2602.05261)
`sapo`     a smooth gate in place of the clip, weights of `grpo` (arXiv 2511.20347)
`gmpo`     the geometric mean of the clipped ratios, weights of `grpo` (arXiv 2507.20673); its clip
           bounds are those of log r
`vespo`    -phi(w) A log pi with w the ratio of the whole completion, weights of `dapo`
           (arXiv 2602.10693)
`rover`    (log r - target)^2, weights of `dapo` (arXiv 2509.24981)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mmrl.objectives import terms
from mmrl.objectives.divergence import Estimator, estimate_kl

LossName = Literal[
    "grpo",
    "dr_grpo",
    "dapo",
    "bnpo",
    "cispo",
    "gspo",
    "luspo",
    "sapo",
    "gmpo",
    "vespo",
    "rover",
]


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
    uncertain_tokens: float | None = None
    """Tokens of the optimizer step that `chosen_BC` leaves to the policy; None where it is not
    given.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConstants:
    """What a loss has besides its clip bounds; the defaults leave it as its paper has it."""

    ratio_cap: float | None = None
    """The largest ratio that counts for a negative advantage (two-sided clip)."""
    ratio_bound: float | None = None
    """Ratios are brought into [1 / bound, bound] before anything else (StableReinforce's Pre-CLIP,
    arXiv 2505.02835), so that their exponential cannot overflow; 1000 in the paper."""
    sapo_temperatures: tuple[float, float] = (1.0, 1.05)
    """For positive advantages, and for the others."""
    imitation_shape: float = 0.1
    """LUFFY's gamma, for tokens that another model wrote."""
    trace_mean: Literal["loss", "sequence"] = "loss"
    """What such a token weighs: as the loss has it, or by the length of its own completion
    (AMPO)."""
    kl_estimator: Estimator = "k3"
    kl_clamp: float | None = None
    """Bound on the difference of log-probs in the estimate."""
    entropy_weight: float = 0.0
    """Of the mean entropy per token, which is subtracted from the loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTerms:
    """Sums over a micro-batch; divided by the step's tokens they are the metrics."""

    loss: Tensor
    kl_sum: Tensor
    clipped_sum: Tensor
    ratio_max: Tensor


PAPERS = LossConstants()


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
    constants: LossConstants = PAPERS,
    chosen_BC: Tensor | None = None,
    entropy_BC: Tensor | None = None,
    mean_log_ratio_BC: Tensor | None = None,
    imitated_B: Tensor | None = None,
    importance: Tensor | None = None,
) -> LossTerms:
    """The share of a micro-batch in the loss of its optimizer step (a scalar with gradient).

    Args:
        name: The term and the weights.
        logprobs_BC: Of the policy, with gradient.
        old_logprobs_BC: Of the policy that sampled.
        reference_logprobs_BC: Of the reference; None where there is no KL term.
        advantages_B: [B], or [B, C] where the tokens of a completion differ.
        mask_BC: 1 on completion tokens.
        denominators: What the sums are divided by.
        clip_low: r is clipped at 1 - clip_low.
        clip_high: r is clipped at 1 + clip_high.
        kl_weight: Of the estimate of KL(policy || reference).
        kl_correction: Multiply the estimate by the ratio, which makes its gradient unbiased
            off-policy.
        constants: What else the loss has.
        chosen_BC: 1 on the tokens that the policy term and the entropy bonus act on; all of the
            mask when None.
        entropy_BC: With gradient; needed for the entropy bonus.
        mean_log_ratio_BC: Mean over the vocabulary of log pi - log pi_old; needed by `rover`.
        imitated_B: True for completions that another model wrote; they have LUFFY's term in place
            of the loss's own.
        importance: What each term weighs, [B, C] or [B, 1], for what the sampler gave it; 1 when
            None.
    """
    chosen_BC = mask_BC if chosen_BC is None else mask_BC * chosen_BC
    log_ratio_BC = (logprobs_BC - old_logprobs_BC) * mask_BC
    if constants.ratio_bound is not None:
        bound = math.log(constants.ratio_bound)
        log_ratio_BC = log_ratio_BC.clamp(-bound, bound)
    whole = name in ("gspo", "luspo")
    log_ratio = terms.completion_ratio(log_ratio_BC, mask_BC) if whole else log_ratio_BC
    found, hit = _terms(
        name,
        log_ratio,
        advantages_B if advantages_B.dim() == 2 else advantages_B[:, None],
        logprobs_BC,
        mask_BC=chosen_BC if name == "gmpo" else mask_BC,
        mean_log_ratio_BC=mean_log_ratio_BC,
        imitated_B=imitated_B,
        clip=(clip_low, clip_high),
        constants=constants,
    )
    # the mean of gmpo is over the chosen tokens already, and each token stands for all of them
    terms_BC = found * (mask_BC if name == "gmpo" else chosen_BC)
    if importance is not None:
        terms_BC = terms_BC * importance
    ratio = log_ratio.exp()
    kl_BC = torch.zeros_like(logprobs_BC)
    if reference_logprobs_BC is not None:
        kl_BC = estimate_kl(
            constants.kl_estimator, logprobs_BC, reference_logprobs_BC, clamp=constants.kl_clamp
        )
        terms_BC = terms_BC + kl_weight * (kl_BC * ratio if kl_correction else kl_BC)
    weights_BC = token_weights(name, mask_BC, denominators)
    if imitated_B is not None and constants.trace_mean == "sequence":
        own_BC = token_weights("grpo", mask_BC, denominators)
        weights_BC = torch.where(imitated_B[:, None], own_BC, weights_BC)
    loss = (terms_BC * weights_BC).sum()
    if constants.entropy_weight:
        loss = loss - constants.entropy_weight * _mean_entropy(entropy_BC, chosen_BC, denominators)
    return LossTerms(
        loss=loss,
        kl_sum=(kl_BC.detach() * mask_BC).sum(),
        clipped_sum=(hit.detach() * mask_BC).sum(),
        ratio_max=(ratio.detach() * mask_BC).max(),
    )


def token_weights(name: LossName, mask_BC: Tensor, denominators: Denominators) -> Tensor:
    """The weight [B, C] of every token's term; zero outside the mask."""
    if name in ("grpo", "gspo", "sapo", "gmpo"):
        return mask_BC / (mask_BC.sum(-1, keepdim=True).clamp(min=1) * denominators.completions)
    if name == "dr_grpo":
        return mask_BC / (denominators.completions * denominators.max_length)
    if name == "luspo":
        return mask_BC / denominators.completions
    if name == "bnpo":
        return mask_BC / max(denominators.tokens, 1.0)
    return mask_BC / max(denominators.batch_tokens, 1.0)


def _terms(
    name: LossName,
    log_ratio: Tensor,
    advantages: Tensor,
    logprobs_BC: Tensor,
    *,
    mask_BC: Tensor,
    mean_log_ratio_BC: Tensor | None,
    imitated_B: Tensor | None,
    clip: tuple[float, float],
    constants: LossConstants,
) -> terms.Terms:
    """The terms of a micro-batch and which tokens were clipped, both [B, C] or [B, 1]."""
    low, high = clip
    if name == "cispo":
        found, hit = terms.cispo(log_ratio, advantages, logprobs_BC, high=high)
    elif name == "sapo":
        found, hit = terms.soft_gated(
            log_ratio, advantages, temperatures=constants.sapo_temperatures
        )
    elif name == "gmpo":
        found, hit = terms.geometric_mean(log_ratio, advantages, mask_BC, low=low, high=high)
    elif name == "vespo":
        found, hit = terms.gamma_weighted(log_ratio, advantages, logprobs_BC, mask_BC)
    elif name == "rover":
        if mean_log_ratio_BC is None:
            raise ValueError("rover needs mean_log_ratio_BC")
        found, hit = terms.bellman(
            log_ratio, advantages, mask_BC, mean_log_ratio_BC=mean_log_ratio_BC
        )
    else:
        found, hit = terms.clipped(
            log_ratio, advantages, low=low, high=high, cap=constants.ratio_cap
        )
    if imitated_B is None:
        return found, hit
    other = terms.shaped_imitation(logprobs_BC, advantages, gamma=constants.imitation_shape)
    return torch.where(imitated_B[:, None], other, found), hit & ~imitated_B[:, None]


def _mean_entropy(
    entropy_BC: Tensor | None, chosen_BC: Tensor, denominators: Denominators
) -> Tensor:
    """The share of a micro-batch in the mean entropy per token of the optimizer step, whatever the
    loss's own weights.
    """
    if entropy_BC is None:
        raise ValueError("an entropy bonus needs entropy_BC")
    count = denominators.uncertain_tokens
    return (entropy_BC * chosen_BC).sum() / max(denominators.tokens if count is None else count, 1)
