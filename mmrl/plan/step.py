"""A training step as the cost model sees it: how many prompts, tokens and forward passes, on what,
and how they are split.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from mmrl.config.schema import AlgoConfig, Sharing
from mmrl.plan.dimensions import Dimensions
from mmrl.plan.media import Shown
from mmrl.plan.parameters import Parameters

SHARES_STATES = ("zero2", "zero3", "fsdp2")
"""Strategies that share gradients and optimizer states out."""
SHARES_WEIGHTS = ("zero3", "fsdp2")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """What the prompts of a step are made of, all alike."""

    text_tokens: int
    completion_tokens: int
    seen: tuple[Shown, ...] = ()
    """Pictures and videos of one prompt."""
    heard: tuple[Shown, ...] = ()

    @property
    def tokens(self) -> int:
        """Of one prompt."""
        return self.text_tokens + sum(shown.tokens for shown in (*self.seen, *self.heard))


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one process does in a step."""

    model: Dimensions
    parameters: Parameters
    prompts: Prompts
    prompt_count: int
    """Of this process."""
    group_size: int
    sharing: Sharing
    micro_tokens: int
    max_batch: int
    dtype: Literal["float32", "bfloat16"]
    checkpointing: bool
    world: int
    """Processes on all nodes."""
    nodes: int
    strategy: str
    engine: str
    """What samples; empty where nothing is sampled."""
    learns: bool = True
    old_passes: int = 0
    """Forward passes without gradient over each rollout, for log-probs before the update and for
    entropies."""
    reference: bool = False
    epochs: int = 1
    minibatches: int = 1
    vllm_share: float = 0.3
    """Of a GPU's memory."""
    adapter_on: Literal["", "float32", "bfloat16", "nf4"] = ""
    """What the weights under an adapter are held in; empty where there is no adapter."""
    optimizer: str = "adamw"
    """`optim.kind`."""
    vllm_over: int = 1
    """GPUs that share the weights with which vLLM samples."""

    @property
    def row_tokens(self) -> int:
        """Of a prompt with one completion."""
        return self.prompts.tokens + self.prompts.completion_tokens

    @property
    def rows(self) -> int:
        """Completions of this process."""
        return self.prompt_count * self.group_size

    @property
    def optimizer_steps(self) -> int:
        """In a training step."""
        return self.epochs * self.minibatches if self.learns else 0

    @property
    def states_over(self) -> int:
        """Processes that share the optimizer's states."""
        return self.world if self.strategy in SHARES_STATES else 1

    @property
    def weights_over(self) -> int:
        """Processes that share the weights."""
        return self.world if self.strategy in SHARES_WEIGHTS else 1

    @property
    def encoders_learn(self) -> bool:
        """Whether any weight of the towers does."""
        return self.parameters.learning.encoders > 0


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that go through the model together."""

    prompts: int
    rows: int

    def tokens(self, step: Step) -> int:
        """That enter the decoder."""
        if step.sharing == "packed":
            return self.prompts * step.prompts.tokens + self.rows * step.prompts.completion_tokens
        return self.rows * step.row_tokens

    def encoded(self, step: Step) -> int:
        """Prompts whose media go through the towers."""
        return self.rows if step.sharing == "none" else self.prompts


def parts(step: Step) -> Mapping[Part, int]:
    """The micro-batches of one pass over a step's rollouts, and how often each of them occurs."""
    found: Counter[Part] = Counter()
    count = max(1, step.prompt_count // step.minibatches)
    for part in _parts(step, count * step.group_size):
        found[part] += step.minibatches
    return found


def forward_tokens(step: Step) -> int:
    """Tokens of one pass over a step's rollouts, after sharing."""
    return sum(part.tokens(step) * times for part, times in parts(step).items())


def passes_of(algo: AlgoConfig) -> int:
    """Forward passes without gradient beside those of the reference."""
    old = 0 if algo.epochs == 1 and algo.minibatches == 1 else 1
    return old + (algo.epochs if algo.high_entropy_share < 1 else 0)


def _parts(step: Step, rows: int) -> Iterator[Part]:
    """As mmrl.batch splits rows: a group that does not fit is split, and its prompt is run once per
    part.
    """
    if step.sharing != "packed":
        most = max(1, step.micro_tokens // step.row_tokens)
        for start in range(0, rows, most):
            end = min(start + most, rows)
            yield Part(_groups(start, end, step.group_size), end - start)
        return
    start, tokens = 0, 0
    for row in range(rows):
        joins = row > start and row % step.group_size
        tokens += step.prompts.completion_tokens if joins else step.row_tokens
        if tokens > step.micro_tokens and row > start:
            yield Part(_groups(start, row, step.group_size), row - start)
            start, tokens = row, step.row_tokens
    if rows:
        yield Part(_groups(start, rows, step.group_size), rows - start)


def _groups(start: int, end: int, size: int) -> int:
    return math.ceil(end / size) - start // size
