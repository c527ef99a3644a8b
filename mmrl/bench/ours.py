"""A training step of mmrl, phase by phase, on given completions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmrl.batch import collate
from mmrl.bench.task import MEDIA, Workload
from mmrl.config.schema import AlgoConfig, OptimConfig, RolloutConfig, Sharing
from mmrl.engines.hf import sample
from mmrl.model import Policy
from mmrl.policy import completion_logprobs
from mmrl.prompt import Prompts
from mmrl.rollout import fill_advantages
from mmrl.types import Completion, Prompt, Rollout, Row, Verdict
from mmrl.update import Optimizer, Scoring, backward, minibatches

ALGO = AlgoConfig(loss="dapo", advantage="grpo")


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """Seconds of a step and of its phases."""

    rollout: float
    scoring_backward: float
    step: float


@dataclass(kw_only=True, slots=True)
class Ours:
    """mmrl with one kind of sharing."""

    policy: Policy
    rows: Sequence[Row]
    completions_PG: Sequence[Sequence[Completion]]
    workload: Workload
    sharing: Sharing
    micro_tokens: int

    def step(self) -> tuple[Times, dict[str, Tensor]]:
        """One step from rows to weights, at a learning rate that does not move them; its gradient
        by parameter.
        """
        policy = self.policy
        optimizer = _optimizer(policy)
        began = now(policy.device)
        prompts = Prompts(policy=policy, media=MEDIA)
        prompts_P = [prompts(row) for row in self.rows]
        ready = now(policy.device)
        self._sample(prompts_P)
        sampled = now(policy.device)
        rollouts_PG = [
            [
                Rollout(prompt=prompt, completion=completion, verdict=Verdict(score=float(score)))
                for score, completion in enumerate(completions_G)
            ]
            for prompt, completions_G in zip(prompts_P, self.completions_PG, strict=True)
        ]
        fill_advantages(rollouts_PG, ALGO)
        scoring = Scoring(
            temperature=1.0,
            max_length=self.workload.completion_tokens,
            micro_tokens=self.micro_tokens,
            sharing=self.sharing,
        )
        judged = now(policy.device)
        for minibatch in minibatches(policy, None, rollouts_PG, ALGO, scoring):
            backward(policy, minibatch, ALGO, scoring)
        scored = now(policy.device)
        gradient = gradients(policy.model)
        kept = now(policy.device)
        optimizer.step(0)
        ended = now(policy.device)
        return (
            Times(
                rollout=sampled - ready,
                scoring_backward=scored - judged,
                step=ended - began - (kept - scored),
            ),
            gradient,
        )

    @torch.no_grad()
    def logprobs(self) -> Tensor:
        """Log-probs [P * G, C] of the completions."""
        prompts = Prompts(policy=self.policy, media=MEDIA)
        prompts_P = [prompts(row) for row in self.rows]
        batch = collate(
            [prompt for prompt in prompts_P for _ in range(self.workload.group_size)],
            [completion.ids for group in self.completions_PG for completion in group],
            sharing=self.sharing,
            pad_id=self.policy.pad_id,
            device=self.policy.device,
        )
        return completion_logprobs(self.policy, batch)[0]

    def _sample(self, prompts_P: Sequence[Prompt]) -> None:
        config = RolloutConfig(
            max_new_tokens=self.workload.completion_tokens, group_size=self.workload.group_size
        )
        # nothing ends a completion, so that all are of the workload's length
        endless = replace(self.policy, end_ids=())
        sample(endless, prompts_P, config, group_size=self.workload.group_size, seed=0)


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter's gradient."""
    return {
        name: parameter.grad.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def now(device: torch.device) -> float:
    """The time when all that was started on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _optimizer(policy: Policy) -> Optimizer:
    return Optimizer(config=OptimConfig(steps=1, lr=1e-30), policy=policy)
