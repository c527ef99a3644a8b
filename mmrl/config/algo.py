"""The keys of the objective: how verdicts become advantages and advantages a loss."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmrl.config.section import Section


class AlgoConfig(Section):
    """The objective: how verdicts become advantages and advantages a loss."""

    loss: Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "gspo"] = "dapo"
    advantage: Literal["grpo", "dr_grpo", "rloo", "lite_ppo"] = "grpo"
    clip_low: float = Field(default=0.2, ge=0)
    clip_high: float = Field(default=0.28, ge=0)
    kl_weight: float = Field(default=0.0, ge=0)
    """Weight of the k3 estimate of KL(policy || reference); 0 means that no reference is kept."""
    kl_correction: bool = False
    """Multiply the estimate by the probability ratio, which makes its gradient unbiased
    off-policy.
    """
    mask_truncated: bool = False
    """Completions that were cut at max_new_tokens carry no loss (DAPO's overlong filtering)."""
    minibatches: int = Field(default=1, ge=1)
    """Optimizer steps per rollout batch."""
    epochs: int = Field(default=1, ge=1)
    """Passes over each rollout batch."""
