"""Scores rollouts under a policy, so many tokens at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmrl.batch import Batch, collate, micro_batches_of_tokens
from mmrl.config.schema import Sharing
from mmrl.model import Policy
from mmrl.policy import completion_scores
from mmrl.types import Prompt, Rollout


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


def score_rollouts(
    policy: Policy,
    rollouts: Sequence[Rollout],
    scoring: Scoring,
    *,
    vocabulary_mean: bool = False,
) -> tuple[Tensor, ...]:
    """Statistics [3, C] of every completion, without gradient: log-probs, entropies, and the mean
    log-probs over the vocabulary (zero unless asked for). Where processes have to keep step, all of
    them call this, each with rollouts of its own.
    """
    found: list[Tensor] = []
    with torch.no_grad():
        parts, strategy = [*micro_batches(rollouts, scoring)], policy.strategy
        passes = strategy.passes(len(parts)) if strategy.keeps_step else len(parts)
        for part in parts:
            chosen = rollouts[part.start : part.stop]
            scores = completion_scores(
                policy,
                batch_rollouts(policy, chosen, scoring),
                temperature=scoring.temperature,
                vocabulary_mean=vocabulary_mean,
            )
            rows_B3C = torch.stack(
                [scores.logprobs_BC, scores.entropy_BC, scores.vocabulary_mean_BC], dim=1
            )
            lengths = (len(rollout.completion.ids) for rollout in chosen)
            found += [row_3C[:, :length] for row_3C, length in zip(rows_B3C, lengths, strict=True)]
        for _ in range(passes - len(parts)):
            completion_scores(policy, stand_in_batch(policy, scoring))
    return tuple(found)


def stand_in_batch(policy: Policy, scoring: Scoring) -> Batch:
    """What a process runs while another one, with which it has to keep step, is not done yet."""
    stand_ins = policy.strategy.stand_ins
    if stand_ins is None:
        raise RuntimeError("processes keep step, and nothing is there to stand in")
    return collate_for(policy, [stand_ins.text], [policy.end_ids[:1]], scoring)


def micro_batches(rollouts: Sequence[Rollout], scoring: Scoring) -> Iterator[range]:
    """Split rollouts into runs for one forward pass each."""
    return micro_batches_of_tokens(
        [rollout.prompt for rollout in rollouts],
        [rollout.completion.ids for rollout in rollouts],
        sharing=scoring.sharing,
        most=scoring.micro_tokens,
    )


def batch_rollouts(policy: Policy, rollouts: Sequence[Rollout], scoring: Scoring) -> Batch:
    """The rollouts as one batch."""
    return collate_for(
        policy,
        [rollout.prompt for rollout in rollouts],
        [rollout.completion.ids for rollout in rollouts],
        scoring,
    )


def collate_for(
    policy: Policy,
    prompts: Sequence[Prompt],
    completions: Sequence[Sequence[int]],
    scoring: Scoring,
) -> Batch:
    """Prompts and completions as one batch, where the policy is."""
    strategy, stand_ins = policy.strategy, policy.strategy.stand_ins
    return collate(
        prompts,
        completions,
        sharing=scoring.sharing,
        pad_id=policy.pad_id,
        device=policy.device,
        stand_ins=stand_ins.beside(prompts) if stand_ins and strategy.keeps_step else (),
    )


def pad(rows: Sequence[Tensor], like_BC: Tensor) -> Tensor:
    """Rows [K, C] of differing lengths as one tensor [K, B, C], zero on padding."""
    padded = like_BC.new_zeros((len(rows[0]), *like_BC.shape))
    for place, row_KC in enumerate(rows):
        padded[:, place, : row_KC.shape[-1]] = row_KC
    return padded
