"""Makes optimizer steps from rollouts or from gold responses. Micro-batches bound the memory; they
do not change the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmrl.batch import Batch, collate, micro_batches
from mmrl.config.schema import AlgoConfig, OptimConfig
from mmrl.loss import Denominators, policy_loss
from mmrl.model import Policy, trainable_parameters
from mmrl.policy import completion_logprobs
from mmrl.types import Prompt, Rollout


@dataclass(kw_only=True, slots=True)
class Optimizer:
    """AdamW with the learning rate as a function of the step, so that it has no schedule state."""

    config: OptimConfig
    policy: Policy
    adamw: torch.optim.AdamW = field(init=False)
    _parameters: list[torch.nn.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        self._parameters = list(trainable_parameters(self.policy.model).values())
        self.adamw = torch.optim.AdamW(
            self._parameters,
            lr=self.config.lr,
            betas=self.config.betas,
            weight_decay=self.config.weight_decay,
        )

    def step(self, step: int) -> dict[str, float]:
        """Clip the gradient, move the weights, forget the gradient.

        Raises:
            FloatingPointError: the gradient is not finite; the weights are left as they were.
        """
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.config.grad_clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"step {step}: the gradient's norm is {norm.item()}; the weights were not changed"
            )
        lr = learning_rate(self.config, step)
        for group in self.adamw.param_groups:
            group["lr"] = lr
        self.adamw.step()
        self.adamw.zero_grad()
        return {"optim/lr": lr, "optim/grad_norm": norm.item()}


def learning_rate(config: OptimConfig, step: int) -> float:
    """The rate of step 0, 1, ...: a linear warm-up, then constant, or falling to 0 after the last
    step, in a line or a half cosine.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    rest = max(1, config.steps - config.warmup_steps)
    share = (step - config.warmup_steps) / rest
    if config.schedule == "linear":
        return config.lr * (1 - share)
    if config.schedule == "cosine":
        return (
            config.lr
            * 0.5
            * (1 + float(torch.cos(torch.tensor(share * torch.pi, dtype=torch.float64))))
        )
    return config.lr


def update_from_rollouts(
    policy: Policy,
    reference: Policy | None,
    optimizer: Optimizer,
    rollouts_PG: Sequence[Sequence[Rollout]],
    algo: AlgoConfig,
    *,
    step: int,
    temperature: float,
    max_length: int,
) -> dict[str, float]:
    """Make `algo.epochs * algo.minibatches` optimizer steps from the rollouts of a training step;
    return their mean metrics.
    """
    rollouts = [rollout for rollouts_G in rollouts_PG for rollout in rollouts_G]
    size = len(rollouts) // algo.minibatches
    batch_tokens = _tokens(rollouts, algo) / algo.minibatches
    chunks = [range(start, start + size) for start in range(0, len(rollouts), size)]
    on_policy = algo.epochs == 1 and algo.minibatches == 1
    score = _Scorer(policy, rollouts, temperature=temperature, most=optimizer.config.micro_batch)
    old = None if on_policy else score.all(policy)
    references = None if reference is None else score.all(reference)
    history: list[dict[str, float]] = []
    for _ in range(algo.epochs):
        for chunk in chunks:
            denominators = Denominators(
                completions=len(chunk),
                tokens=_tokens([rollouts[place] for place in chunk], algo),
                batch_tokens=batch_tokens,
                max_length=max_length,
            )
            metrics = _backward(score, chunk, old, references, algo, denominators)
            history.append(metrics | optimizer.step(step))
    return {key: sum(metrics[key] for metrics in history) / len(history) for key in history[0]}


def update_from_responses(
    policy: Policy,
    optimizer: Optimizer,
    prompts_B: Sequence[Prompt],
    responses_B: Sequence[Sequence[int]],
    *,
    step: int,
) -> dict[str, float]:
    """One optimizer step on the mean cross-entropy of the response tokens; prompt tokens carry no
    loss.
    """
    tokens = sum(map(len, responses_B))
    total = 0.0
    for chunk in micro_batches(len(prompts_B), optimizer.config.micro_batch):
        batch = _collate(
            policy, [prompts_B[place] for place in chunk], [responses_B[place] for place in chunk]
        )
        logprobs_BC, _ = completion_logprobs(policy, batch)
        loss = -logprobs_BC.sum() / tokens
        loss.backward()
        total += loss.item()
    return {"policy/loss": total, **optimizer.step(step)}


@dataclass(slots=True)
class _Scorer:
    """Collates and scores the rollouts of one training step."""

    policy: Policy
    rollouts: list[Rollout]
    temperature: float
    most: int

    def batch(self, chunk: range) -> Batch:
        chosen = [self.rollouts[place] for place in chunk]
        return _collate(self.policy, [r.prompt for r in chosen], [r.completion.ids for r in chosen])

    def all(self, policy: Policy) -> list[Tensor]:
        """Log-probs of every rollout, each [its length], without gradient."""
        rows: list[Tensor] = []
        with torch.no_grad():
            for chunk in micro_batches(len(self.rollouts), self.most):
                logprobs_BC, _ = completion_logprobs(
                    policy, self.batch(chunk), temperature=self.temperature
                )
                lengths = (len(self.rollouts[place].completion.ids) for place in chunk)
                rows += [row_C[:length] for row_C, length in zip(logprobs_BC, lengths, strict=True)]
        return rows


def _backward(
    score: _Scorer,
    chunk: range,
    old: list[Tensor] | None,
    references: list[Tensor] | None,
    algo: AlgoConfig,
    denominators: Denominators,
) -> dict[str, float]:
    sums = dict.fromkeys(("policy/loss", "policy/kl", "policy/clip_frac", "policy/entropy"), 0.0)
    ratio_max = 0.0
    for part in micro_batches(len(chunk), score.most):
        places = chunk[part.start : part.stop]
        batch = score.batch(places)
        chosen = [score.rollouts[place] for place in places]
        advantages_B = torch.tensor(
            [rollout.advantage for rollout in chosen], device=batch.ids_BT.device
        )
        logprobs_BC, entropy_BC = completion_logprobs(
            score.policy, batch, temperature=score.temperature
        )
        mask_BC = batch.completion_mask_BC * _teaches(chosen, algo, batch.ids_BT.device)[:, None]
        terms = policy_loss(
            algo.loss,
            logprobs_BC=logprobs_BC,
            old_logprobs_BC=logprobs_BC.detach()
            if old is None
            else _pad([old[p] for p in places], logprobs_BC),
            reference_logprobs_BC=None
            if references is None
            else _pad([references[p] for p in places], logprobs_BC),
            advantages_B=advantages_B,
            mask_BC=mask_BC,
            denominators=denominators,
            clip_low=algo.clip_low,
            clip_high=algo.clip_high,
            kl_weight=algo.kl_weight,
            kl_correction=algo.kl_correction,
        )
        terms.loss.backward()
        tokens = max(denominators.tokens, 1.0)
        sums["policy/loss"] += terms.loss.item()
        sums["policy/kl"] += terms.kl_sum.item() / tokens
        sums["policy/clip_frac"] += terms.clipped_sum.item() / tokens
        sums["policy/entropy"] += (entropy_BC * mask_BC).sum().item() / tokens
        ratio_max = max(ratio_max, terms.ratio_max.item())
    return sums | {"policy/ratio_max": ratio_max}


def _teaches(rollouts: Sequence[Rollout], algo: AlgoConfig, device: torch.device) -> Tensor:
    cut = [algo.mask_truncated and rollout.completion.stop == "length" for rollout in rollouts]
    return torch.tensor([0.0 if is_cut else 1.0 for is_cut in cut], device=device)


def _tokens(rollouts: Sequence[Rollout], algo: AlgoConfig) -> float:
    taught = (r for r in rollouts if not (algo.mask_truncated and r.completion.stop == "length"))
    return float(sum(len(rollout.completion.ids) for rollout in taught))


def _pad(rows: list[Tensor], like_BC: Tensor) -> Tensor:
    padded_BC = torch.zeros_like(like_BC)
    for place, row_C in enumerate(rows):
        padded_BC[place, : len(row_C)] = row_C
    return padded_BC


def _collate(
    policy: Policy, prompts: Sequence[Prompt], completions: Sequence[Sequence[int]]
) -> Batch:
    return collate(prompts, completions, pad_id=policy.pad_id, device=policy.device)
