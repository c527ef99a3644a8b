"""Log-probs of completions under a policy: one forward pass, with the language-model head applied
to completion positions only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mmrl.batch import Batch
from mmrl.model import Policy


def completion_logprobs(
    policy: Policy, batch: Batch, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies, both [B, C], of the completion tokens; zero on padding.

    The distribution is the one that was sampled from: divided by the temperature, media tokens
    banned. Entropy carries no gradient.
    """
    mask_BC = batch.completion_mask_BC.bool()
    rows_M, steps_M = mask_BC.nonzero(as_tuple=True)
    # The hidden state at position p predicts the token at p + 1.
    positions_M = batch.prompt_lengths_B[rows_M] + steps_M - 1
    with head_sees(policy.model, lambda hidden_BTD: hidden_BTD[rows_M, positions_M][None]):
        logits_MV = policy(
            input_ids=batch.ids_BT,
            attention_mask=batch.mask_BT,
            position_ids=batch.positions_RBT
            if len(batch.positions_RBT) > 1
            else batch.positions_RBT[0],
            use_cache=False,
            **batch.media,
        ).logits[0]
    logprobs_MV = allowed_logprobs(logits_MV, policy.banned_ids, temperature=temperature)
    targets_M = batch.completion_ids_BC[rows_M, steps_M]
    logprobs_M = logprobs_MV.gather(-1, targets_M[:, None])[:, 0]
    with torch.no_grad():
        entropy_M = torch.special.entr(logprobs_MV.exp()).sum(-1)
    zeros_BC = torch.zeros_like(batch.completion_mask_BC)
    return zeros_BC.index_put((rows_M, steps_M), logprobs_M), zeros_BC.index_put(
        (rows_M, steps_M), entropy_M
    )


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
def head_sees(model: Any, select: Any) -> Iterator[None]:
    """While inside, the language-model head gets `select(hidden_BTD)` instead of all hidden states.

    Logits of a whole visual prompt times a vocabulary of 150,000 would be the largest tensor of the
    step; families differ in
    `logits_to_keep`, and all of them call the head as a module.
    """
    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(
        lambda _, arguments: (select(arguments[0]), *arguments[1:])
    )
    try:
        yield
    finally:
        handle.remove()
