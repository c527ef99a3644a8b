"""The keys that say how completions are sampled, and what goes on beside their sampling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mmrl.config.guidance import LuffyGuidance, NoGuidance
from mmrl.config.section import Section
from mmrl.config.vllm import VllmConfig
from mmrl.schedule import Schedule

if TYPE_CHECKING:
    from mmrl.config.algo import AlgoConfig


class AnswerConfig(Section):
    """How long and how many completions are; all that greedy answers to held-out rows need."""

    engine: Literal["hf", "vllm"] = "hf"
    """What samples: the training model itself, or vLLM with its weights (docs/vllm.md)."""
    vllm: VllmConfig | None = None
    """Only with `engine: vllm`; without it, vLLM runs in the training process."""
    max_batch: int = Field(default=512, ge=1)
    """Most completions decoded together; smaller saves memory for the key-value cache. Groups are
    not split, so one group is the least."""
    max_new_tokens: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _engine(self) -> AnswerConfig:
        if self.vllm is not None and self.engine != "vllm":
            raise ValueError(f"the keys of vllm do nothing with engine {self.engine}")
        return self


class RolloutConfig(AnswerConfig):
    """How completions are sampled."""

    prompts_per_step: int = Field(default=8, ge=1)
    group_size: int = Field(default=8, ge=2)
    """Completions per prompt; one completion has no siblings to be compared with."""
    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    budget: Schedule | None = None
    """Tokens that a completion may have, by the share of the stage that is done, such as
    {0: 4096, 0.5: 8192}; at most max_new_tokens, which it is unless given."""

    @model_validator(mode="after")
    def _budget(self) -> RolloutConfig:
        for value in self.budget.values if self.budget else ():
            if value % 1 or not 1 <= value <= self.max_new_tokens:
                raise ValueError(
                    f"budget: a number of tokens from 1 to max_new_tokens ({self.max_new_tokens}), "
                    f"got {value:g}"
                )
        return self


class TrainingRolloutConfig(RolloutConfig):
    """How completions that are trained on are sampled."""

    prompts_per_batch: int | None = Field(default=None, ge=1)
    """Sample the step's prompts so many at a time, and judge each batch while the next one is
    sampled; all at once unless given. Results are the same, up to the last bits of a sampler's
    log-probs (docs/overlap.md)."""
    async_steps: Literal[0, 1] = 0
    """0: completions are sampled with the weights that they train. 1: they are sampled before the
    update of the step before, and judged during it (arXiv 2410.18252); algo.importance corrects
    for the difference, and is on."""

    @model_validator(mode="after")
    def _batches(self) -> TrainingRolloutConfig:
        if (self.prompts_per_batch or 1) > self.prompts_per_step:
            raise ValueError(
                f"prompts_per_batch ({self.prompts_per_batch}) is larger than prompts_per_step "
                f"({self.prompts_per_step}): take a part of the step, or leave the key out"
            )
        return self


def with_importance(values: Any) -> Any:
    """Switch importance correction on in a stage that samples a step ahead and does not say whether
    it has it; anything else is left as it is.
    """
    if not isinstance(values, Mapping):
        return values
    rollout, algo = values.get("rollout"), values.get("algo", {})
    ahead = isinstance(rollout, Mapping) and rollout.get("async_steps") == 1
    if not ahead or not isinstance(algo, Mapping) or "importance" in algo:
        return values
    # vespo refuses it; that it is missing is then said by check_ahead
    return values if algo.get("loss") == "vespo" else {**values, "algo": {**algo, "importance": {}}}


def check_ahead(
    rollout: TrainingRolloutConfig, *, algo: AlgoConfig, guidance: Section, checkpoint_every: int
) -> None:
    """Refuse what does not go with completions that are sampled a step ahead.

    Raises:
        ValueError: nothing corrects for the weights, groups are helped by the policy, or there is
            no step that could begin ahead.
    """
    if not rollout.async_steps:
        return
    if algo.loss == "vespo":
        raise ValueError(
            "rollout.async_steps 1 needs algo.importance, which loss vespo does not go with: set "
            "rollout.async_steps=0, or take another loss"
        )
    if algo.importance is None:
        raise ValueError(
            "rollout.async_steps 1 trains on completions of the weights before the last update, "
            "and algo.importance, which corrects for that, is null: leave the key out for its "
            "defaults, or set rollout.async_steps=0"
        )
    if not isinstance(guidance, NoGuidance | LuffyGuidance):
        raise ValueError(
            f"rollout.async_steps 1 does not go with guidance {getattr(guidance, 'kind', '')}, "
            "which draws groups again with weights that the others were not sampled with: set "
            "rollout.async_steps=0"
        )
    if checkpoint_every == 1:
        raise ValueError(
            "rollout.async_steps does nothing with checkpoint.every 1: a step behind a checkpoint "
            "is sampled when it begins, so that runs resume exactly; set checkpoint.every=2 or more"
        )
