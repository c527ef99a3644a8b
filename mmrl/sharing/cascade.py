"""Attention of a group's completions, in two parts that are joined: all completions' tokens to the
prompt, in one product without a mask, and each completion to itself.

The parts are joined by their log-sum-exp, as blocks are within FlashAttention (arXiv 2205.14135)
and across devices in Ring Attention (arXiv 2310.01889). Keys and values of the prompt are neither
repeated per completion nor per query head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

_ATEN: Any = torch.ops.aten
_FORWARD: Any = getattr(_ATEN, "_scaled_dot_product_flash_attention_for_cpu", None)
_BACKWARD: Any = getattr(_ATEN, "_scaled_dot_product_flash_attention_for_cpu_backward", None)

Pair = tuple[Tensor, Tensor]
"""Keys and values."""


def attend_completions(
    query: Tensor, prompt: Pair, own: Pair, lengths: Sequence[int], scale: float
) -> Tensor:
    """Attention [1, H, M, D] of the M tokens of all completions.

    `query` is [1, H, M, D], the prompt's keys and values are [1, K, P, D], the completions' own
    [1, K, M, D]. On the CPU in two parts, elsewhere with the prompt repeated per completion.
    """
    if query.device.type == "cpu" and _FORWARD is not None and _BACKWARD is not None:
        result: Any = _Cascade.apply(query, *prompt, *own, tuple(lengths), scale)
        return result
    return attend_repeated(query, prompt, own, lengths, scale)


def attend_repeated(
    query: Tensor, prompt: Pair, own: Pair, lengths: Sequence[int], scale: float
) -> Tensor:
    """The same with public functions only, and memory for G copies of the prompt's keys and
    values.
    """
    shared = query.shape[1] // own[0].shape[1]
    index_GC, places_M = _grid(lengths, query.device)
    group, width = index_GC.shape
    parts = []
    for prompt_1KPD, own_1KMD in zip(prompt, own, strict=True):
        before_GKPD = prompt_1KPD.expand(group, -1, -1, -1)
        own_GKCD = own_1KMD[0][:, index_GC].transpose(0, 1)
        both_GKLD = torch.cat([before_GKPD, own_GKCD], dim=2)
        parts.append(both_GKLD.repeat_interleave(shared, dim=1))
    steps_C = torch.arange(width, device=query.device)
    before_CP = torch.ones(width, prompt[0].shape[2], dtype=torch.bool, device=query.device)
    allowed_CL = torch.cat([before_CP, steps_C[:, None] >= steps_C], dim=1)
    output_GHCD = scaled_dot_product_attention(
        query[0][:, index_GC].transpose(0, 1), *parts, attn_mask=allowed_CL, scale=scale
    )
    return _flat(output_GHCD, places_M)[None]


class _Cascade(torch.autograd.Function):
    """Both parts by the CPU's flash attention, which returns the log-sum-exp; its backward, given
    output and log-sum-exp of the whole, is exact for each part.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        prompt_key: Tensor,
        prompt_value: Tensor,
        own_key: Tensor,
        own_value: Tensor,
        lengths: tuple[int, ...],
        scale: float,
    ) -> Tensor:
        heads, shared = query.shape[1], query.shape[1] // own_key.shape[1]
        index_GC, places_M = _grid(lengths, query.device)
        far_1KND, far_lse = _forward(_fold(query, shared), prompt_key, prompt_value, scale)
        near_GHCD, near_lse_GHC = _forward(
            _spread(query, index_GC, heads),
            _spread(own_key, index_GC, heads),
            _spread(own_value, index_GC, heads),
            scale,
            is_causal=True,
        )
        far_HMD, far_lse_HM = far_1KND.reshape(query.shape[1:]), far_lse.reshape(heads, -1)
        near_HMD, near_lse_HM = _flat(near_GHCD, places_M), _flat(near_lse_GHC, places_M)
        lse_HM = torch.logaddexp(far_lse_HM, near_lse_HM)
        output_HMD = (
            far_HMD * (far_lse_HM - lse_HM).exp()[..., None]
            + near_HMD * (near_lse_HM - lse_HM).exp()[..., None]
        ).to(query.dtype)
        ctx.save_for_backward(
            query, prompt_key, prompt_value, own_key, own_value, output_HMD, lse_HM
        )
        ctx.lengths, ctx.scale = lengths, scale
        return output_HMD[None]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grad_1HMD,) = grads
        query, prompt_key, prompt_value, own_key, own_value, output_HMD, lse_HM = ctx.saved_tensors
        heads, groups = query.shape[1], own_key.shape[1]
        shared = heads // groups
        index_GC, places_M = _grid(ctx.lengths, query.device)
        output = output_HMD[None]
        far_query, far_key, far_value = _backward(
            _fold(grad_1HMD, shared),
            _fold(query, shared),
            prompt_key,
            prompt_value,
            _fold(output, shared),
            lse_HM.reshape(1, groups, -1),
            ctx.scale,
        )
        # what stands on padding is taken out of the gradient, so its output may be anything
        inside_GC = torch.zeros(index_GC.numel(), dtype=torch.bool, device=query.device)
        inside_GC = inside_GC.index_fill(0, places_M, True).view(index_GC.shape)
        grad_GHCD = _spread(grad_1HMD, index_GC, heads) * inside_GC[:, None, :, None]
        near_query, near_key, near_value = _backward(
            grad_GHCD,
            _spread(query, index_GC, heads),
            _spread(own_key, index_GC, heads),
            _spread(own_value, index_GC, heads),
            _spread(output, index_GC, heads),
            lse_HM[:, index_GC].transpose(0, 1),
            ctx.scale,
            is_causal=True,
        )
        grad_query = far_query.reshape(query.shape) + _flat(near_query, places_M)[None]
        return (
            grad_query,
            far_key,
            far_value,
            _gather(near_key, places_M, shared),
            _gather(near_value, places_M, shared),
            None,
            None,
        )


def _forward(
    query: Tensor, key: Tensor, value: Tensor, scale: float, *, is_causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Output [B, H, T, D] and log-sum-exp [B, H, T]."""
    return _FORWARD(query, key, value, is_causal=is_causal, scale=scale)


def _backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    lse: Tensor,
    scale: float,
    *,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    return _BACKWARD(grad, query, key, value, output, lse, 0.0, is_causal, scale=scale)


def _grid(lengths: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Places [G, C] of completion tokens among all M, and places [M] of all tokens in that grid.

    The grid is padded on the right with whatever is there; a causal query never sees it.
    """
    lengths_G = torch.tensor([length for length in lengths if length], device=device)
    starts_G = lengths_G.cumsum(0) - lengths_G
    steps_C = torch.arange(int(lengths_G.max()), device=device)
    inside_GC = steps_C < lengths_G[:, None]
    index_GC = (starts_G[:, None] + steps_C).clamp(max=int(lengths_G.sum()) - 1)
    return index_GC, inside_GC.flatten().nonzero()[:, 0]


def _fold(part_1HMD: Tensor, shared: int) -> Tensor:
    """Queries [1, K, shared * M, D]: heads that share a key are more queries of one head."""
    _, heads, tokens, width = part_1HMD.shape
    return part_1HMD.reshape(1, heads // shared, shared * tokens, width)


def _spread(part_1KMD: Tensor, index_GC: Tensor, heads: int) -> Tensor:
    """[G, H, C, D] from the tokens of all completions, keys repeated to all heads."""
    part_GKCD = part_1KMD[0][:, index_GC].transpose(0, 1)
    return part_GKCD.repeat_interleave(heads // part_GKCD.shape[1], dim=1)


def _flat(part_GHC: Tensor, places_M: Tensor) -> Tensor:
    """[H, M, ...] from [G, H, C, ...]."""
    return part_GHC.transpose(0, 1).flatten(1, 2)[:, places_M]


def _gather(grad_GHCD: Tensor, places_M: Tensor, shared: int) -> Tensor:
    """[1, K, M, D]: the heads that share a key add up."""
    grad_HMD = _flat(grad_GHCD, places_M)
    return grad_HMD.view(-1, shared, *grad_HMD.shape[1:]).sum(1)[None]
