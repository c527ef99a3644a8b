"""The keys of the objective: how verdicts become advantages and advantages a loss."""

from __future__ import annotations

from collections.abc import Container, Sized
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mmrl.config.section import Section

_CLIPPED = ("grpo", "dr_grpo", "dapo", "bnpo", "gspo", "luspo")
_BY_TOKEN = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo")
_OUTCOME = ("psr", "nsr", "w_reinforce")
_BELONGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ratio_cap": ("loss", _CLIPPED),
    "ratio_bound": ("loss", _BY_TOKEN),
    "sapo_temperatures": ("loss", ("sapo",)),
    "right": ("advantage", _OUTCOME),
    "positive_weight": ("advantage", ("w_reinforce",)),
}
"""Keys without a value of their own, and the choices that they act on."""


class EmpgConfig(Section):
    """Advantages move with the entropy of each line of a completion (EMPG, arXiv 2509.09265). The
    paper's own values are not known; costs one more forward pass over the completions.
    """

    sharpness: float = Field(default=1.0, ge=0)
    """How much more confident lines move than uncertain ones (k)."""
    clarity: float = Field(default=1.0, ge=0)
    """How fast the bonus falls with the next line's entropy (k')."""
    clarity_weight: float = Field(default=0.05, ge=0)
    """What the bonus weighs (zeta)."""


class AdaptConfig(Section):
    """The weight of imitation rises where imitation helps held-out responses, and where the
    policy's entropy is below its target; rates and bounds are AMFT's.
    """

    target_entropy: float | None = Field(default=None, ge=0)
    """Mean entropy per token to hold; that of the stage's first step unless given."""
    entropy_rate: float = Field(default=5e-4, ge=0)
    gain_rate: float = Field(default=1e-4, ge=0)
    gain_every: int = Field(default=20, ge=0)
    """Steps between measurements of the gain, by the responses of data.heldout (as many as
    eval.batch_size); 0 is never. Each costs a pass over them and three gradients at a time."""
    low: float = Field(default=0.05, ge=0, le=1)
    high: float = Field(default=0.95, ge=0, le=1)


class ImitationConfig(Section):
    """Gold responses of the step's rows are imitated beside the reinforcement: (1 - w) RL + w SFT
    (AMFT, arXiv 2508.06944).
    """

    weight: float = Field(default=0.5, ge=0, le=1)
    """w; where it adapts, at the start."""
    adapt: AdaptConfig | None = None

    @model_validator(mode="after")
    def _bounds(self) -> ImitationConfig:
        if self.adapt and not self.adapt.low <= self.weight <= self.adapt.high:
            raise ValueError(
                f"weight ({self.weight:g}) is not between adapt.low ({self.adapt.low:g}) and "
                f"adapt.high ({self.adapt.high:g})"
            )
        return self


class ImportanceConfig(Section):
    """Weigh each token's term by what the trainer gives it over what the sampler gave it: for
    engines whose log-probs differ from the trainer's (`policy/sampling_gap`).
    """

    level: Literal["token", "sequence"] = "token"
    """A weight for each token, or one for the whole completion."""
    mode: Literal["truncate", "mask"] = "truncate"
    """Weights above the cap become the cap, or 0."""
    cap: float = Field(default=3.0, ge=1)


class ReferenceResetConfig(Section):
    """The reference becomes a copy of the policy now and then, so that the KL term does not hold
    back a long run (ProRL, arXiv 2505.24864).
    """

    every: int = Field(ge=1)
    """Steps."""
    optimizer: bool = True
    """Forget the optimizer's moments at the same time, as the paper does."""


class AlgoConfig(Section):
    """The objective: how verdicts become advantages and advantages a loss."""

    loss: Literal[
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
    ] = "dapo"
    """See mmrl/loss.py; rover goes with advantage dr_grpo."""
    advantage: Literal[
        "grpo",
        "dr_grpo",
        "rloo",
        "lite_ppo",
        "batch",
        "none",
        "psr",
        "nsr",
        "w_reinforce",
    ] = "grpo"
    """See mmrl/advantage.py; GDPO is batch with rewards.combine normalise. The last three go by the
    term accuracy, the others by the score."""
    right: float | None = Field(default=None, gt=0, le=1)
    """The accuracy from which a completion is right, for psr, nsr and w_reinforce; 1 unless
    given."""
    positive_weight: float | None = Field(default=None, ge=0)
    """What w_reinforce gives for a right completion; 0.1 unless given."""
    advantage_limit: float | None = Field(default=None, gt=0)
    """Standardise the advantages over the batch, and set to 0 what is farther from 0
    (StableReinforce; 3 in the paper)."""
    empg: EmpgConfig | None = None
    imitation: ImitationConfig | None = None
    trace_shape: float | None = Field(default=None, gt=0)
    """gamma in p / (p + gamma), the term of tokens that a teacher wrote (LUFFY); 0.1 unless
    given."""
    trace_mean: Literal["loss", "sequence"] = "loss"
    """What such a token weighs: what the loss gives all tokens, or its share of its own trace
    (AMPO)."""
    drop_agreeing: bool = False
    """Groups whose siblings all score the same leave the denominators too, as if never sampled."""
    clip_low: float = Field(default=0.2, ge=0)
    """The ratio is clipped at 1 - clip_low; gmpo clips its logarithm at -clip_low (0.4 in the
    paper)."""
    clip_high: float = Field(default=0.28, ge=0)
    """The ratio is clipped at 1 + clip_high; gmpo clips its logarithm at clip_high."""
    ratio_cap: float | None = Field(default=None, gt=1)
    """The largest ratio that counts for a negative advantage (two-sided clip, dual clip)."""
    ratio_bound: float | None = Field(default=None, gt=1)
    """Bring ratios into [1 / bound, bound] before all else (StableReinforce; 1000 in the paper)."""
    sapo_temperatures: (
        tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None
    ) = None
    """For positive advantages and for the others; 1 and 1.05 unless given."""
    entropy_weight: float = Field(default=0.0, ge=0)
    """Of the mean entropy per token as a bonus; its gradient costs a tensor of the logits' size."""
    high_entropy_share: float = Field(default=1.0, gt=0, le=1)
    """Only this share of a step's tokens, the most uncertain ones, learns (0.2 in arXiv
    2506.01939); costs one more forward pass."""
    kl_weight: float = Field(default=0.0, ge=0)
    """Weight of the estimate of KL(policy || reference); 0 means that no reference is kept."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """See mmrl/objectives/divergence.py."""
    kl_clamp: float | None = Field(default=None, gt=0)
    """Bound on the difference of log-probs in the estimate (10 in Video-R1)."""
    kl_correction: bool = False
    """Multiply the estimate by the probability ratio, which makes its gradient unbiased
    off-policy.
    """
    reference_reset: ReferenceResetConfig | None = None
    importance: ImportanceConfig | None = None
    mask_truncated: bool = False
    """Completions that were cut at max_new_tokens carry no loss (DAPO's overlong filtering)."""
    minibatches: int = Field(default=1, ge=1)
    """Optimizer steps per rollout batch."""
    epochs: int = Field(default=1, ge=1)
    """Passes over each rollout batch."""

    @model_validator(mode="after")
    def _belongs(self) -> AlgoConfig:
        for key, (choice, those) in _BELONGS.items():
            found = getattr(self, choice)
            if getattr(self, key) is not None and found not in those:
                raise ValueError(
                    f"{key} does nothing with {choice} {found}, only with {', '.join(those)}"
                )
        if self.ratio_cap is not None and self.ratio_cap <= 1 + self.clip_high:
            raise ValueError(
                f"ratio_cap ({self.ratio_cap:g}) has to be more than 1 + clip_high "
                f"({1 + self.clip_high:g})"
            )
        return self

    @model_validator(mode="after")
    def _correction(self) -> AlgoConfig:
        if self.importance is not None and self.loss == "vespo":
            raise ValueError(
                "importance does not go with loss vespo, which weighs completions itself"
            )
        return self

    @model_validator(mode="after")
    def _divergence(self) -> AlgoConfig:
        if self.kl_weight == 0:
            given = {
                "kl_estimator": self.kl_estimator != "k3",
                "kl_clamp": self.kl_clamp is not None,
                "reference_reset": self.reference_reset is not None,
            }
            if idle := next((key for key, said in given.items() if said), None):
                raise ValueError(f"{idle} does nothing while kl_weight is 0")
        if self.kl_estimator == "k1" and not self.kl_correction:
            raise ValueError(
                "kl_estimator k1 has no gradient on average; set kl_correction, or take k2 or k3"
            )
        return self


def check_objective(algo: AlgoConfig, *, terms: Container[str], heldout: Sized) -> None:
    """Refuse an objective that asks of its stage what is not there.

    Raises:
        ValueError: reward terms or held-out rows are missing.
    """
    if algo.advantage in _OUTCOME and "accuracy" not in terms:
        raise ValueError(
            f"algo.advantage {algo.advantage} goes by the rows' accuracy: rewards.terms needs "
            "'accuracy', if only with weight 0"
        )
    adapt = algo.imitation.adapt if algo.imitation else None
    if adapt and adapt.gain_every and not len(heldout):
        raise ValueError(
            "algo.imitation.adapt measures its gain by the responses of data.heldout: give some, "
            "or set gain_every=0"
        )
