"""The keys that say what is rewarded and how terms become one score."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from mmrl.config.section import Section
from mmrl.schedule import Schedule


class RewardTerm(Section):
    """One term of the reward: a verifier by name, its parameters and its weight."""

    name: str | None = None
    """A verifier; the term `accuracy` has none, it is the row's own."""
    weight: float | Schedule = 1.0
    params: dict[str, Any] = Field(default_factory=dict)


class RewardsConfig(Section):
    """The stage's reward terms. `accuracy` stands for the verifier that each row names."""

    terms: dict[str, RewardTerm] = Field(default_factory=lambda: {"accuracy": RewardTerm()})
    combine: Literal["sum", "ratio", "gate", "normalise"] = "sum"
    """How terms become one score: their weighted sum; that sum divided by the weights (V-Triune);
    the
    sum, but 0 where the term `format` fails (MoDoMoDo); or the sum of terms that were normalised
    within their group first (GDPO)."""
    max_unjudged: float = Field(default=0.02, ge=0, le=1)
    """The run stops when a larger share of rollouts could not be judged."""
    timeout_s: float = Field(default=10.0, gt=0)
    """Wall time for one judgement in the isolated pool."""
    memory_mb: int = Field(default=2048, ge=64)
    """Memory for one worker of the isolated pool."""

    @model_validator(mode="after")
    def _names(self) -> RewardsConfig:
        for key, term in self.terms.items():
            if (term.name is None) != (key == "accuracy"):
                raise ValueError(
                    f"term {key!r}: every term but 'accuracy' needs 'name', and 'accuracy' has none"
                )
        return self
