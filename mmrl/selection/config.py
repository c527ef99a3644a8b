"""The keys of `mmrl data select`, by method. No torch is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mmrl.coldstart.config import TeacherConfig
from mmrl.config.section import Section
from mmrl.difficulty import FILTER_WINDOW, LIM_THRESHOLD, MCTS_EASY, MCTS_ITERATIONS


class SelectConfig(Section):
    """What every method has."""

    keep: Literal["selected", "all"] = "selected"
    """Write only the rows that the method selects, or all that it could score."""
    cache: Path | None = None
    """Folder of the replies; `mmrl/replies` in the user's cache folder if not given."""


class AskingConfig(SelectConfig):
    """What methods have that let a policy answer."""

    policy: TeacherConfig
    """A server with `base_url` and `model`, or `local`; `model=NAME` is a file of configs/model/
    for `local`."""
    system: str | None = None
    """A system message put before each row's prompt."""
    max_tokens: int = Field(default=2048, ge=1)
    concurrency: int = Field(default=16, ge=1, le=1024)
    """Requests under way at once."""
    max_cost: float | None = Field(default=None, gt=0)
    """Stop before this run spends more; what was answered is kept."""
    stop_after: int = Field(default=20, ge=1)
    """Stop when so many requests in a row got no answer."""


class PassRateConfig(AskingConfig):
    """The share of rollouts that the row's verifiers find right."""

    rollouts: int = Field(default=8, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    window: tuple[float, float] = FILTER_WINDOW
    """Pass rates that are selected, both ends included."""
    by: Literal["rate", "interval"] = "rate"
    """Select by the rate itself, or all rows whose interval reaches into the window: those that
    more rollouts might still find within it."""
    interval: Literal["wilson", "clopper_pearson"] = "wilson"
    confidence: float = Field(default=0.95, gt=0, lt=1)

    @model_validator(mode="after")
    def _ordered(self) -> PassRateConfig:
        low, high = self.window
        if not 0 <= low <= high <= 1:
            raise ValueError(f"window goes from a low share to a high one, got {[low, high]}")
        return self


class MctsConfig(AskingConfig):
    """Iterations of a tree search until the first right answer (ThinkLite-VL)."""

    iterations: int = Field(default=MCTS_ITERATIONS, ge=1)
    """After so many a row counts as unsolved."""
    easy: int = Field(default=MCTS_EASY, ge=0)
    """Rows that are solved within so many iterations are not selected."""
    children: int = Field(default=3, ge=1)
    """Ways that are tried from a step on."""
    steps: int = Field(default=10, ge=1)
    """Most steps of a way."""
    exploration: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=0.5, gt=0)
    top_p: float = Field(default=0.9, gt=0, le=1)
    seed: int = Field(default=0, ge=0)


class LimConfig(SelectConfig):
    """How closely a row's rewards follow the mean curve of a run (LIMR)."""

    run: Path
    """A run folder, or its rollouts.jsonl."""
    stage: str | None = None
    """Of the run, where it has several."""
    steps_per_epoch: int | None = Field(default=None, ge=1)
    """Where the epochs end (LIMR: 8); by default each visit of a row is an epoch."""
    threshold: float = LIM_THRESHOLD
    """Rows that score at least so much are selected."""


class GainRlConfig(SelectConfig):
    """The angles between the hidden states of a prompt's tokens (GAIN-RL)."""

    policy: TeacherConfig
    """`local`, or `model=NAME`: its hidden states have to be seen."""
    system: str | None = None
    """A system message put before each row's prompt."""
    shared: int | None = Field(default=None, ge=0)
    """Tokens that stand before every row; by default those that all prompts begin with."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Select this share of the rows, those with the highest signal."""

    @model_validator(mode="after")
    def _local(self) -> GainRlConfig:
        if self.policy.local is None:
            raise ValueError("give 'model=NAME' or policy.local: a server shows no hidden states")
        return self


METHODS: dict[str, type[SelectConfig]] = {
    "pass_rate": PassRateConfig,
    "mcts": MctsConfig,
    "lim": LimConfig,
    "gain_rl": GainRlConfig,
}
