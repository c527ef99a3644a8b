"""Attention over packed groups on a GPU: FlexAttention with a block mask made from the layout, so
that blocks without a pair that may attend are not computed (arXiv 2412.05496).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from mmrl.sharing.layout import Segment


@lru_cache
def has_flex(device: torch.device) -> bool:
    """Whether the device runs compiled FlexAttention with gradients: CUDA from Ampere on."""
    if device.type != "cuda":
        return False
    from torch.utils._triton import has_triton

    return torch.cuda.get_device_capability(device) >= (8, 0) and has_triton()


def attend_row(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment], scale: float
) -> Tensor:
    """Attention [1, H, T, D] of a packed row."""
    mask = block_mask(tuple(segments), query.device)
    return _flex()(query, key, value, block_mask=mask, scale=scale, enable_gqa=True)


@lru_cache(maxsize=4)
def block_mask(segments: tuple[Segment, ...], device: torch.device) -> Any:
    """The block mask of a layout; all layers of a forward and a backward pass share it."""
    from torch.nn.attention.flex_attention import create_block_mask

    groups, completions = (part.to(device) for part in owners(segments))

    def may_attend(_batch: Tensor, _head: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        shared = (completions[kv] == 0) | (completions[kv] == completions[q])
        return (groups[q] == groups[kv]) & shared & (q >= kv)

    length = len(groups)
    return create_block_mask(may_attend, None, None, length, length, device=str(device))


def owners(segments: Sequence[Segment]) -> tuple[Tensor, Tensor]:
    """Group and completion, both [T], of every token; completions count from 1, 0 is the prompt."""
    groups, completions = [], []
    for number, segment in enumerate(segments):
        groups += [number] * (segment.end - segment.start)
        completions += [0] * segment.prompt_length
        for place, length in enumerate(segment.lengths, start=1):
            completions += [place] * length
    return torch.tensor(groups), torch.tensor(completions)


@lru_cache
def _flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)
