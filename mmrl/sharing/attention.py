"""Attention over packed groups, offered to transformers under a name of its own.

A mask that is a layout is computed group by group; every other mask goes to the attention that
transformers has for `sdpa`, so that sampling and plain scoring are what they always were.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mmrl.sharing.cascade import attend_completions
from mmrl.sharing.flex import attend_row, has_flex
from mmrl.sharing.layout import Segment, from_mask, is_layout

PACKED = "mmrl_packed"


def use_packed_attention(model: Any) -> None:
    """Let the model's decoder take layouts for masks; its encoders stay as they are."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, sdpa_mask)
    model.get_decoder().config._attn_implementation = PACKED


@contextmanager
def packed_layers(model: Any) -> Iterator[None]:
    """Let the decoder take layouts while inside."""
    config = model.get_decoder().config
    before = config._attn_implementation
    use_packed_attention(model)
    try:
        yield
    finally:
        config._attn_implementation = before


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of query [B, H, T, D] to key and value [B, K, T, D], K heads being shared among H;
    returns [B, T, H, D].

    Raises:
        NotImplementedError: a layout together with dropout or with a window that does not hold it.
    """
    if attention_mask is None or not is_layout(attention_mask):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **kwargs
        )
    segments = from_mask(attention_mask)
    _check(segments, dropout, kwargs.get("sliding_window"))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if torch.is_autocast_enabled(query.device.type):
        # as autocast does for scaled_dot_product_attention; rotary positions came out in float32
        low = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(low), key.to(low), value.to(low)
    if has_flex(query.device):
        output_BHTD = attend_row(query, key, value, segments, scale)
    else:
        output_BHTD = torch.cat(
            [part for segment in segments for part in _attend(query, key, value, segment, scale)],
            dim=2,
        )
    return output_BHTD.transpose(1, 2).contiguous(), None


def _attend(
    query: Tensor, key: Tensor, value: Tensor, segment: Segment, scale: float
) -> tuple[Tensor, Tensor]:
    prompt = slice(segment.start, segment.own)
    own = slice(segment.own, segment.end)
    shared = query.shape[1] // key.shape[1]
    seen = scaled_dot_product_attention(
        query[:, :, prompt],
        key[:, :, prompt].repeat_interleave(shared, dim=1),
        value[:, :, prompt].repeat_interleave(shared, dim=1),
        is_causal=True,
        scale=scale,
    )
    if segment.own == segment.end:
        return seen, query[:, :, own]
    said = attend_completions(
        query[:, :, own],
        (key[:, :, prompt], value[:, :, prompt]),
        (key[:, :, own], value[:, :, own]),
        segment.lengths,
        scale,
    )
    return seen, said


def _check(segments: tuple[Segment, ...], dropout: float, window: int | None) -> None:
    if dropout:
        raise NotImplementedError("packed attention has no dropout")
    longest = max(s.prompt_length + max(s.lengths, default=0) for s in segments)
    if window is not None and window < longest:
        raise NotImplementedError(
            f"packed attention has no sliding window; the model's is {window} tokens, "
            f"a prompt with its completion has {longest}"
        )
