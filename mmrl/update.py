"""Makes optimizer steps from rollouts or from gold responses. Micro-batches bound the memory; they
do not change the gradient.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch
from torch import Tensor

from mmrl.batch import micro_batches_of_tokens
from mmrl.config.algo import ImportanceConfig
from mmrl.config.schema import AlgoConfig, OptimConfig
from mmrl.loss import Denominators, LossConstants, policy_loss
from mmrl.model import Policy, trainable_parameters
from mmrl.objectives.entropy import high_entropy_threshold
from mmrl.objectives.importance import importance_weights, sampling_gaps
from mmrl.optimizers import make_optimizer
from mmrl.policy import completion_logprobs, completion_scores
from mmrl.scoring import (
    Scoring,
    batch_rollouts,
    collate_for,
    micro_batches,
    pad,
    score_rollouts,
    stand_in_batch,
)
from mmrl.types import Prompt, Rollout


@dataclass(kw_only=True, slots=True)
class Optimizer:
    """AdamW with the learning rate as a function of the step, so that it has no schedule state."""

    config: OptimConfig
    policy: Policy
    adamw: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        parameters = trainable_parameters(self.policy.model).values()
        self.adamw = make_optimizer(self.config, parameters)
        self.policy.strategy.attach(self.policy.model, self.adamw, grad_clip=self.config.grad_clip)

    def step(self, step: int) -> dict[str, float]:
        """Clip the gradient, move the weights, forget the gradient.

        Raises:
            FloatingPointError: the gradient is not finite; the weights are left as they were.
        """
        lr = learning_rate(self.config, step)
        norm = self.policy.strategy.step(
            self.adamw, step=step, lr=lr, grad_clip=self.config.grad_clip
        )
        return {"optim/lr": lr, "optim/grad_norm": norm}


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
class Minibatch:
    """The rollouts of one optimizer step."""

    rollouts: tuple[Rollout, ...]
    """Those with a share in the gradient whose prompts this process holds; the denominators count
    all."""
    taught_tokens: int
    """Tokens of those with a share in the gradient, of all processes."""
    old: tuple[Tensor, ...] | None
    """Statistics [3, C] before the first of the steps; None where the policy has not moved
    since."""
    reference: tuple[Tensor, ...] | None
    """Statistics [3, C] under the reference; None where there is none."""
    denominators: Denominators
    prompts: tuple[Prompt, ...]
    """Of all its groups, also of those that do not teach."""


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
    rover = algo.loss == "rover"
    batch_tokens = _tokens(rollouts, algo) / algo.minibatches
    on_policy = algo.epochs == 1 and algo.minibatches == 1
    steps = []
    for start in range(0, len(rollouts), size):
        part = rollouts[start : start + size]
        teaching = [r for r in part if _teaches(r, algo)]
        taught = tuple(r for r in teaching if r.here)
        denominators = Denominators(
            completions=max(sum(rollout.counts for rollout in part), 1),
            tokens=_tokens(part, algo),
            batch_tokens=batch_tokens,
            max_length=scoring.max_length,
        )
        steps.append(
            Minibatch(
                rollouts=taught,
                taught_tokens=sum(len(rollout.completion.ids) for rollout in teaching),
                old=None
                if on_policy
                else score_rollouts(policy, taught, scoring, vocabulary_mean=rover),
                reference=None if reference is None else score_rollouts(reference, taught, scoring),
                denominators=denominators,
                prompts=tuple({id(r.prompt): r.prompt for r in part}.values()),
            )
        )
    return steps * algo.epochs


def backward(
    policy: Policy,
    minibatch: Minibatch,
    algo: AlgoConfig,
    scoring: Scoring,
    *,
    weight: float = 1.0,
) -> dict[str, float]:
    """Add the gradient of the minibatch's loss, times a weight beside other losses, and return the
    loss without it and what goes with it.
    """
    loss, kl, clipped, entropy, ratio_max, gap = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    importance, weighed, capped = algo.importance, 0.0, 0.0
    tokens, ranks = minibatch.taught_tokens, policy.strategy.ranks
    uncertain, denominators = _uncertain_tokens(policy, minibatch, algo, scoring)
    parts = [*micro_batches(minibatch.rollouts, scoring)]
    passes = policy.strategy.passes(len(parts))
    for part in parts:
        chosen = minibatch.rollouts[part.start : part.stop]
        rows = slice(part.start, part.stop)
        batch = batch_rollouts(policy, chosen, scoring)
        scores = completion_scores(
            policy,
            batch,
            temperature=scoring.temperature,
            entropy_learns=algo.entropy_weight > 0,
            vocabulary_mean=algo.loss == "rover",
        )
        logprobs_BC, mask_BC = scores.logprobs_BC, batch.completion_mask_BC
        before_BC, mean_BC = logprobs_BC.detach(), scores.vocabulary_mean_BC
        if minibatch.old is not None:
            before_BC, _, mean_BC = pad(minibatch.old[rows], logprobs_BC)
        gaps_BC = sampling_gaps(chosen, before_BC)
        weights, weight_sum, capped_sum = _importance(gaps_BC, mask_BC, importance)
        terms = policy_loss(
            algo.loss,
            logprobs_BC=logprobs_BC,
            old_logprobs_BC=before_BC,
            reference_logprobs_BC=None
            if minibatch.reference is None
            else pad(minibatch.reference[rows], logprobs_BC)[0],
            advantages_B=_advantages(chosen, logprobs_BC),
            mask_BC=mask_BC,
            denominators=denominators,
            clip_low=algo.clip_low,
            clip_high=algo.clip_high,
            kl_weight=algo.kl_weight,
            kl_correction=algo.kl_correction,
            constants=_constants(algo),
            chosen_BC=None if uncertain is None else pad(uncertain[rows], logprobs_BC)[0],
            entropy_BC=scores.entropy_BC,
            mean_log_ratio_BC=scores.vocabulary_mean_BC - mean_BC,
            imitated_B=_imitated(chosen, logprobs_BC.device),
            importance=weights,
        )
        policy.strategy.backward(weight * terms.loss)
        loss += terms.loss.item()
        kl += terms.kl_sum.item() / tokens
        clipped += terms.clipped_sum.item() / tokens
        entropy += (scores.entropy_BC.detach() * mask_BC).sum().item() / tokens
        weighed += weight_sum / tokens
        capped += capped_sum / tokens
        ratio_max = max(ratio_max, terms.ratio_max.item())
        gap = max(gap, gaps_BC.abs().max().item())
    backward_nothing(policy, scoring, passes=passes - len(parts))
    sums = [loss, kl, clipped, entropy, weighed, capped]
    loss, kl, clipped, entropy, weighed, capped = ranks.totals(sums, "metrics: adding up")
    ratio_max, gap = ranks.largest([ratio_max, gap], "metrics: comparing")
    metrics = {"policy/loss": loss, "policy/taught_tokens": float(tokens)}
    if not tokens:
        return metrics
    if denominators.uncertain_tokens is not None:
        metrics["policy/uncertain_tokens"] = denominators.uncertain_tokens
    if importance is not None:
        metrics |= {"policy/importance": weighed, "policy/importance_capped_frac": capped}
    return metrics | {
        "policy/kl": kl,
        "policy/clip_frac": clipped,
        "policy/entropy": entropy,
        "policy/ratio_max": ratio_max,
        "policy/sampling_gap": gap,
    }


def _importance(
    gaps_BC: Tensor, mask_BC: Tensor, config: ImportanceConfig | None
) -> tuple[Tensor | None, float, float]:
    """The weights of tokens that another policy sampled, their sum, and how many are at a limit."""
    if config is None:
        return None, 0.0, 0.0
    weights = importance_weights(gaps_BC, mask_BC, **config.model_dump())
    limited = (weights == 0) | (weights == config.cap)
    return weights, (weights * mask_BC).sum().item(), (limited * mask_BC).sum().item()


def _imitated(rollouts: Sequence[Rollout], device: torch.device) -> Tensor | None:
    """Which of the rollouts are imitated [B]; None where none is."""
    imitated = [rollout.imitated for rollout in rollouts]
    return torch.tensor(imitated, device=device) if any(imitated) else None


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
    tokens: int | None = None,
) -> dict[str, float]:
    """One optimizer step on the mean cross-entropy of the response tokens; prompt tokens carry no
    loss. `tokens` is how many responses have where other processes hold more of them.
    """
    loss = backward_responses(policy, prompts_B, responses_B, scoring, tokens=tokens)
    return {"policy/loss": loss, **optimizer.step(step)}


def backward_responses(
    policy: Policy,
    prompts_B: Sequence[Prompt],
    responses_B: Sequence[Sequence[int]],
    scoring: Scoring,
    *,
    weight: float = 1.0,
    tokens: int | None = None,
) -> float:
    """Add the gradient of the mean cross-entropy of the response tokens, times a weight beside
    other losses, and return the cross-entropy. `tokens` counts those of all processes.
    """
    tokens = sum(map(len, responses_B)) if tokens is None else tokens
    total = 0.0
    chunks = [
        *micro_batches_of_tokens(
            prompts_B, responses_B, sharing=scoring.sharing, most=scoring.micro_tokens
        )
    ]
    passes = policy.strategy.passes(len(chunks))
    for chunk in chunks:
        rows = slice(chunk.start, chunk.stop)
        batch = collate_for(policy, prompts_B[rows], responses_B[rows], scoring)
        logprobs_BC, _ = completion_logprobs(policy, batch)
        loss = -logprobs_BC.sum() / tokens
        policy.strategy.backward(weight * loss)
        total += loss.item()
    backward_nothing(policy, scoring, passes=passes - len(chunks))
    return policy.strategy.ranks.totals([total], "loss: adding up")[0]


def backward_nothing(policy: Policy, scoring: Scoring, *, passes: int) -> None:
    """Make so many passes with a loss that is zero: those that other processes make beyond this
    one's. Theirs are counted before the first pass, since a pass is an exchange as well.
    """
    if policy.strategy.stand_ins is None:
        return
    for _ in range(passes):
        logprobs_BC, _ = completion_logprobs(policy, stand_in_batch(policy, scoring))
        policy.strategy.backward(0.0 * logprobs_BC.sum())


def _uncertain_tokens(
    policy: Policy, minibatch: Minibatch, algo: AlgoConfig, scoring: Scoring
) -> tuple[tuple[Tensor, ...] | None, Denominators]:
    """1 on the tokens [1, C] that learn for their entropy, and the denominators with their count;
    None where all learn.
    """
    if algo.high_entropy_share == 1 or not minibatch.taught_tokens:
        return None, minibatch.denominators
    rows = score_rollouts(policy, minibatch.rollouts, scoring)
    own = [entropy for row_3C in rows for entropy in row_3C[1].tolist()]
    every = policy.strategy.ranks.gather(own, "entropies: gathering")
    threshold = high_entropy_threshold(
        torch.tensor([entropy for part in every for entropy in part]),
        share=algo.high_entropy_share,
    )
    chosen = tuple((row_3C[1:2] >= threshold).to(row_3C.dtype) for row_3C in rows)
    count = float(sum(row_1C.sum().item() for row_1C in chosen))
    [count] = policy.strategy.ranks.totals([count], "entropies: counting")
    return chosen, dataclasses.replace(minibatch.denominators, uncertain_tokens=count)


def _advantages(rollouts: Sequence[Rollout], like_BC: Tensor) -> Tensor:
    """[B], or [B, C] where tokens differ."""
    device = like_BC.device
    if all(rollout.token_advantages is None for rollout in rollouts):
        return torch.tensor([rollout.advantage for rollout in rollouts], device=device)
    rows = [
        torch.tensor(
            [rollout.token_advantages or (rollout.advantage,) * len(rollout.completion.ids)]
        )
        for rollout in rollouts
    ]
    return pad(rows, like_BC)[0]


def _constants(algo: AlgoConfig) -> LossConstants:
    constants = LossConstants(
        ratio_cap=algo.ratio_cap,
        ratio_bound=algo.ratio_bound,
        kl_estimator=algo.kl_estimator,
        kl_clamp=algo.kl_clamp,
        entropy_weight=algo.entropy_weight,
        trace_mean=algo.trace_mean,
    )
    if algo.trace_shape is not None:
        constants = dataclasses.replace(constants, imitation_shape=algo.trace_shape)
    if algo.sapo_temperatures is not None:
        constants = dataclasses.replace(constants, sapo_temperatures=algo.sapo_temperatures)
    return constants


def _teaches(rollout: Rollout, algo: AlgoConfig) -> bool:
    """Whether the rollout has a share in the gradient. Terms that do not go by the advantage need
    every completion, and so does the share of the most uncertain tokens.
    """
    everything = (
        algo.kl_weight > 0
        or algo.entropy_weight > 0
        or algo.high_entropy_share < 1
        or algo.loss == "rover"
        or rollout.token_advantages is not None
    )
    return _counts(rollout, algo) and (everything or rollout.advantage != 0)


def _counts(rollout: Rollout, algo: AlgoConfig) -> bool:
    cut = algo.mask_truncated and rollout.completion.stop == "length"
    return rollout.counts and not cut


def _tokens(rollouts: Sequence[Rollout], algo: AlgoConfig) -> float:
    return float(sum(len(r.completion.ids) for r in rollouts if _counts(r, algo)))
