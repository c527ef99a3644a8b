"""Log-probs of completions under a policy: one forward pass, in which the language-model head sees
completion positions only and hands out log-probs, never all logits at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmrl.batch import Batch
from mmrl.model import Policy
from mmrl.sharing.encoder import decoder_sees
from mmrl.sharing.features import features_given

LOGITS_AT_ONCE = 2**26
"""Logits that exist at the same time: 256 MB in float32, 441 tokens of a vocabulary of 152,000."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """What a policy says of completion tokens, each [B, C]; zero on padding."""

    logprobs_BC: Tensor
    entropy_BC: Tensor
    """Of the distribution that each token was drawn from."""
    vocabulary_mean_BC: Tensor
    """Mean log-prob of all tokens that might have stood there, without gradient; zero unless asked
    for."""


def completion_logprobs(
    policy: Policy, batch: Batch, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies, both [B, C], of the completion tokens; see `completion_scores`."""
    scores = completion_scores(policy, batch, temperature=temperature)
    return scores.logprobs_BC, scores.entropy_BC


def completion_scores(
    policy: Policy,
    batch: Batch,
    *,
    temperature: float = 1.0,
    entropy_learns: bool = False,
    vocabulary_mean: bool = False,
) -> Scores:
    """Score the completion tokens in one forward pass.

    The distribution is the one that was sampled from: divided by the temperature, media tokens
    banned. Entropy carries a gradient only if it is asked to.
    """
    rows_M, steps_M = batch.completion_mask_BC.bool().nonzero(as_tuple=True)
    targets_M = batch.completion_ids_BC[rows_M, steps_M]
    zeros_BC = torch.zeros_like(batch.completion_mask_BC)
    if not len(targets_M):
        return Scores(logprobs_BC=zeros_BC, entropy_BC=zeros_BC, vocabulary_mean_BC=zeros_BC)

    def score(head: Callable[[Tensor], Tensor], hidden_NTD: Tensor) -> Tensor:
        hidden_MD = hidden_NTD.flatten(0, 1)[batch.predictors_M]
        return _scores(
            lambda hidden, targets: token_scores(
                head(hidden),
                targets,
                policy.banned_ids,
                temperature=temperature,
                entropy_learns=entropy_learns,
                vocabulary_mean=vocabulary_mean,
            ),
            hidden_MD,
            targets_M,
            at_once=max(1, LOGITS_AT_ONCE // policy.vocabulary),
        )[None]

    positions = batch.positions_RNT
    with (
        head_becomes(policy.model, score),
        features_given(policy, batch.ids_NT, batch.features),
        decoder_sees(policy.model, batch.expansion),
    ):
        scores_M3 = policy(
            input_ids=batch.ids_NT,
            attention_mask=batch.mask,
            position_ids=positions if len(positions) > 1 else positions[0],
            use_cache=False,
            **batch.media,
        ).logits[0]
    logprobs_BC, entropy_BC, mean_BC = (
        zeros_BC.index_put((rows_M, steps_M), scores_M) for scores_M in scores_M3.unbind(-1)
    )
    return Scores(logprobs_BC=logprobs_BC, entropy_BC=entropy_BC, vocabulary_mean_BC=mean_BC)


def token_scores(
    logits_MV: Tensor,
    targets_M: Tensor,
    banned_ids: tuple[int, ...],
    *,
    temperature: float,
    entropy_learns: bool,
    vocabulary_mean: bool,
) -> Tensor:
    """Log-prob of each target, entropy of its distribution and that one's mean log-prob [M, 3],
    float32.
    """
    logprobs_MV = allowed_logprobs(logits_MV, banned_ids, temperature=temperature)
    logprobs_M = logprobs_MV.gather(-1, targets_M[:, None])[:, 0]
    with torch.set_grad_enabled(entropy_learns and torch.is_grad_enabled()):
        # 0 * log 0 of a banned token is 0, and so is its gradient
        finite_MV = logprobs_MV.clamp(min=torch.finfo(logprobs_MV.dtype).min)
        entropy_M = -(logprobs_MV.exp() * finite_MV).sum(-1)
    mean_M = torch.zeros_like(entropy_M)
    if vocabulary_mean:
        finite_MV = logprobs_MV.detach()
        finite_MV = finite_MV.masked_fill(finite_MV.isneginf(), 0)
        mean_M = finite_MV.sum(-1) / (logprobs_MV.shape[-1] - len(banned_ids))
    return torch.stack([logprobs_M, entropy_M, mean_M], dim=-1)


def allowed_logprobs(
    logits_BV: Tensor, banned_ids: tuple[int, ...], *, temperature: float = 1.0
) -> Tensor:
    """Log-softmax [B, V] in float32 over the tokens that may be sampled."""
    logits_BV = logits_BV.float() / temperature
    if banned_ids:
        logits_BV = logits_BV.index_fill(
            -1, torch.tensor(banned_ids, device=logits_BV.device), float("-inf")
        )
    return logits_BV.log_softmax(-1)


@contextmanager
def head_becomes(model: Any, score: Any) -> Iterator[None]:
    """While inside, the model's language-model head gives `score(head, hidden_NTD)` in place of
    logits.

    Families differ in how the head is called, and all of them call it as a module; so whatever
    wraps the model (DDP, ZeRO, FSDP) sees one ordinary forward.
    """
    head = model.get_output_embeddings()
    own = head.forward
    head.forward = lambda hidden_NTD: score(own, hidden_NTD)
    try:
        yield
    finally:
        del head.forward


@contextmanager
def head_sees(model: Any, select: Any) -> Iterator[None]:
    """While inside, the language-model head gets `select(hidden_NTD)` instead of all hidden
    states.
    """
    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(
        lambda _, arguments: (select(arguments[0]), *arguments[1:])
    )
    try:
        yield
    finally:
        handle.remove()


def _scores(score: Any, hidden_MD: Tensor, targets_M: Tensor, *, at_once: int) -> Tensor:
    """Score tokens so many at a time; the logits of all but one part are made anew for their
    gradient.
    """
    if len(targets_M) <= at_once:
        return score(hidden_MD, targets_M)
    parts = [
        checkpoint(score, hidden, targets, use_reentrant=False)
        for hidden, targets in zip(hidden_MD.split(at_once), targets_M.split(at_once), strict=True)
    ]
    return torch.cat(parts)  # pyright: ignore[reportArgumentType, reportCallIssue]
