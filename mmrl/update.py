"""Makes optimizer steps from rollouts or from gold responses. Micro-batches bound the memory; they
do not change the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch
from torch import Tensor

from mmrl.batch import Batch, collate, micro_batches_of_tokens
from mmrl.config.schema import AlgoConfig, OptimConfig, Sharing
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
        for parameter in self._parameters:
            # Moments move on alike whether a batch held no sound, or none that taught; what never
            # had a gradient stays as it was loaded.
            if parameter.grad is None and parameter in self.adamw.state:
                parameter.grad = torch.zeros_like(parameter)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """How completions are scored: as they were sampled, and so many at a time."""

    temperature: float
    max_length: int
    """Tokens that a completion may have at most."""
    micro_tokens: int
    """Most tokens in one forward pass; one completion with its prompt is the least."""
    sharing: Sharing
    """What the completions of a group have computed in common."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Minibatch:
    """The rollouts of one optimizer step."""

    rollouts: tuple[Rollout, ...]
    """Those with a share in the gradient; the denominators count all."""
    old: tuple[Tensor, ...] | None
    """Log-probs [C] before the first of the steps; None where the policy has not moved since."""
    reference: tuple[Tensor, ...] | None
    """Log-probs [C] under the reference; None where there is none."""
    denominators: Denominators


def minibatches(
    policy: Policy,
    reference: Policy | None,
    rollouts_PG: Sequence[Sequence[Rollout]],
    algo: AlgoConfig,
    scoring: Scoring,
) -> list[Minibatch]:
    """The optimizer steps of a training step: `algo.epochs` times `algo.minibatches`, of whole
    groups in order.

    A completion whose term is zero whatever the policy does, as all of a group that agrees, is not
    run through the model at all: the gradient is the same without it.
    """
    rollouts = [rollout for rollouts_G in rollouts_PG for rollout in rollouts_G]
    size = len(rollouts) // algo.minibatches
    batch_tokens = _tokens(rollouts, algo) / algo.minibatches
    on_policy = algo.epochs == 1 and algo.minibatches == 1
    steps = []
    for start in range(0, len(rollouts), size):
        part = rollouts[start : start + size]
        taught = tuple(r for r in part if _teaches(r, algo))
        denominators = Denominators(
            completions=size,
            tokens=_tokens(part, algo),
            batch_tokens=batch_tokens,
            max_length=scoring.max_length,
        )
        steps.append(
            Minibatch(
                rollouts=taught,
                old=None if on_policy else _score(policy, taught, scoring),
                reference=None if reference is None else _score(reference, taught, scoring),
                denominators=denominators,
            )
        )
    return steps * algo.epochs


def backward(
    policy: Policy, minibatch: Minibatch, algo: AlgoConfig, scoring: Scoring
) -> dict[str, float]:
    """Add the gradient of the minibatch's loss, and return the loss and what goes with it."""
    loss, kl, clipped, entropy, ratio_max, gap = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    tokens = sum(len(rollout.completion.ids) for rollout in minibatch.rollouts)
    for part in _parts(minibatch.rollouts, scoring):
        chosen = minibatch.rollouts[part.start : part.stop]
        batch = _batch(policy, chosen, scoring)
        device = batch.ids_NT.device
        logprobs_BC, entropy_BC = completion_logprobs(
            policy, batch, temperature=scoring.temperature
        )
        mask_BC = batch.completion_mask_BC
        rows = slice(part.start, part.stop)
        before_BC = logprobs_BC.detach()
        if minibatch.old is not None:
            before_BC = _pad(minibatch.old[rows], logprobs_BC)
        reference_BC = None
        if minibatch.reference is not None:
            reference_BC = _pad(minibatch.reference[rows], logprobs_BC)
        terms = policy_loss(
            algo.loss,
            logprobs_BC=logprobs_BC,
            old_logprobs_BC=before_BC,
            reference_logprobs_BC=reference_BC,
            advantages_B=torch.tensor([rollout.advantage for rollout in chosen], device=device),
            mask_BC=mask_BC,
            denominators=minibatch.denominators,
            clip_low=algo.clip_low,
            clip_high=algo.clip_high,
            kl_weight=algo.kl_weight,
            kl_correction=algo.kl_correction,
        )
        terms.loss.backward()
        loss += terms.loss.item()
        kl += terms.kl_sum.item() / tokens
        clipped += terms.clipped_sum.item() / tokens
        entropy += (entropy_BC * mask_BC).sum().item() / tokens
        ratio_max = max(ratio_max, terms.ratio_max.item())
        sampled = [torch.tensor(rollout.completion.logprobs) for rollout in chosen]
        sampled_BC = _pad(sampled, logprobs_BC)
        gap = max(gap, ((before_BC - sampled_BC) * mask_BC).abs().max().item())
    metrics = {"policy/loss": loss, "policy/taught_tokens": float(tokens)}
    if not tokens:
        return metrics
    return metrics | {
        "policy/kl": kl,
        "policy/clip_frac": clipped,
        "policy/entropy": entropy,
        "policy/ratio_max": ratio_max,
        "policy/sampling_gap": gap,
    }


def mean_metrics(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric over the optimizer steps that have it."""
    keys = dict.fromkeys(key for metrics in steps for key in metrics)
    return {key: fmean(metrics[key] for metrics in steps if key in metrics) for key in keys}


def update_from_responses(
    policy: Policy,
    optimizer: Optimizer,
    prompts_B: Sequence[Prompt],
    responses_B: Sequence[Sequence[int]],
    scoring: Scoring,
    *,
    step: int,
) -> dict[str, float]:
    """One optimizer step on the mean cross-entropy of the response tokens; prompt tokens carry no
    loss.
    """
    tokens = sum(map(len, responses_B))
    total = 0.0
    for chunk in micro_batches_of_tokens(
        prompts_B, responses_B, sharing=scoring.sharing, most=scoring.micro_tokens
    ):
        rows = slice(chunk.start, chunk.stop)
        batch = _collate(policy, prompts_B[rows], responses_B[rows], scoring)
        logprobs_BC, _ = completion_logprobs(policy, batch)
        loss = -logprobs_BC.sum() / tokens
        loss.backward()
        total += loss.item()
    return {"policy/loss": total, **optimizer.step(step)}


def _score(policy: Policy, rollouts: Sequence[Rollout], scoring: Scoring) -> tuple[Tensor, ...]:
    """Log-probs of every completion, each [C], without gradient."""
    rows: list[Tensor] = []
    with torch.no_grad():
        for part in _parts(rollouts, scoring):
            chosen = rollouts[part.start : part.stop]
            batch = _batch(policy, chosen, scoring)
            logprobs_BC, _ = completion_logprobs(policy, batch, temperature=scoring.temperature)
            lengths = (len(rollout.completion.ids) for rollout in chosen)
            rows += [row_C[:length] for row_C, length in zip(logprobs_BC, lengths, strict=True)]
    return tuple(rows)


def _teaches(rollout: Rollout, algo: AlgoConfig) -> bool:
    """Whether the rollout has a share in the gradient; a KL term needs every completion."""
    return _counts(rollout, algo) and (rollout.advantage != 0 or algo.kl_weight > 0)


def _counts(rollout: Rollout, algo: AlgoConfig) -> bool:
    return not (algo.mask_truncated and rollout.completion.stop == "length")


def _tokens(rollouts: Sequence[Rollout], algo: AlgoConfig) -> float:
    return float(sum(len(r.completion.ids) for r in rollouts if _counts(r, algo)))


def _pad(rows: Sequence[Tensor], like_BC: Tensor) -> Tensor:
    padded_BC = torch.zeros_like(like_BC)
    for place, row_C in enumerate(rows):
        padded_BC[place, : len(row_C)] = row_C
    return padded_BC


def _parts(rollouts: Sequence[Rollout], scoring: Scoring) -> Iterator[range]:
    return micro_batches_of_tokens(
        [rollout.prompt for rollout in rollouts],
        [rollout.completion.ids for rollout in rollouts],
        sharing=scoring.sharing,
        most=scoring.micro_tokens,
    )


def _batch(policy: Policy, rollouts: Sequence[Rollout], scoring: Scoring) -> Batch:
    return _collate(
        policy,
        [rollout.prompt for rollout in rollouts],
        [rollout.completion.ids for rollout in rollouts],
        scoring,
    )


def _collate(
    policy: Policy,
    prompts: Sequence[Prompt],
    completions: Sequence[Sequence[int]],
    scoring: Scoring,
) -> Batch:
    return collate(
        prompts, completions, sharing=scoring.sharing, pad_id=policy.pad_id, device=policy.device
    )
