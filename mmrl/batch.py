"""Puts prompts and completions into tensors. Groups stay together, and padding never stands between
a prompt and its completion.

A row of a batch is `[prompt | completion | padding]`; its media follow in the order of the rows, as
the models' placeholders are filled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmrl.families import completion_positions
from mmrl.types import Prompt

_PADDED_LAST = ("input_features", "feature_attention_mask")
"""Audio tensors are as long as their prompt's longest sound; joined, they are padded on the last
axis.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Completions behind their prompts, ready for one forward pass."""

    ids_BT: Tensor
    mask_BT: Tensor
    """1 on prompt and completion tokens."""
    positions_RBT: Tensor
    media: Mapping[str, Tensor]
    completion_ids_BC: Tensor
    completion_mask_BC: Tensor
    """1.0 on completion tokens, the end token included."""
    prompt_lengths_B: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptBatch:
    """Prompts padded on the left, so that sampling goes on at the same place in every row."""

    ids_PT: Tensor
    mask_PT: Tensor
    positions_RPT: Tensor
    media: Mapping[str, Tensor]


def collate(
    prompts_B: Sequence[Prompt],
    completions_B: Sequence[Sequence[int]],
    *,
    pad_id: int,
    device: torch.device | str = "cpu",
) -> Batch:
    """Join each prompt with its completion's token ids, padded on the right."""
    lengths = [
        len(prompt.ids) + len(ids) for prompt, ids in zip(prompts_B, completions_B, strict=True)
    ]
    axes = prompts_B[0].positions_RT.shape[0]
    rows, width, completion_width = len(prompts_B), max(lengths), max(1, *map(len, completions_B))
    ids_BT = torch.full((rows, width), pad_id)
    mask_BT = torch.zeros((rows, width), dtype=torch.long)
    positions_RBT = torch.zeros((axes, rows, width), dtype=torch.long)
    completion_ids_BC = torch.full((rows, completion_width), pad_id)
    completion_mask_BC = torch.zeros((rows, completion_width))
    for row, (prompt, completion) in enumerate(zip(prompts_B, completions_B, strict=True)):
        start, end = len(prompt.ids), lengths[row]
        ids_BT[row, :end] = torch.tensor([*prompt.ids, *completion])
        mask_BT[row, :end] = 1
        positions_RBT[:, row, :start] = prompt.positions_RT
        positions_RBT[:, row, start:end] = completion_positions(
            prompt.positions_RT, len(completion)
        )
        completion_ids_BC[row, : len(completion)] = torch.tensor(completion, dtype=torch.long)
        completion_mask_BC[row, : len(completion)] = 1
    return Batch(
        ids_BT=ids_BT.to(device),
        mask_BT=mask_BT.to(device),
        positions_RBT=positions_RBT.to(device),
        media={
            key: value.to(device)
            for key, value in join_media([prompt.media for prompt in prompts_B]).items()
        },
        completion_ids_BC=completion_ids_BC.to(device),
        completion_mask_BC=completion_mask_BC.to(device),
        prompt_lengths_B=torch.tensor([len(prompt.ids) for prompt in prompts_B], device=device),
    )


def collate_prompts(
    prompts_P: Sequence[Prompt], *, pad_id: int, device: torch.device | str = "cpu"
) -> PromptBatch:
    """Pad prompts on the left for sampling."""
    width = max(len(prompt.ids) for prompt in prompts_P)
    axes = prompts_P[0].positions_RT.shape[0]
    ids_PT = torch.full((len(prompts_P), width), pad_id)
    mask_PT = torch.zeros((len(prompts_P), width), dtype=torch.long)
    positions_RPT = torch.zeros((axes, len(prompts_P), width), dtype=torch.long)
    for row, prompt in enumerate(prompts_P):
        start = width - len(prompt.ids)
        ids_PT[row, start:] = torch.tensor(prompt.ids)
        mask_PT[row, start:] = 1
        positions_RPT[:, row, start:] = prompt.positions_RT
    return PromptBatch(
        ids_PT=ids_PT.to(device),
        mask_PT=mask_PT.to(device),
        positions_RPT=positions_RPT.to(device),
        media={
            key: value.to(device)
            for key, value in join_media([prompt.media for prompt in prompts_P]).items()
        },
    )


def join_media(media: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate the media tensors of several prompts along their first axis, per key."""
    keys = {key: None for item in media for key in item}
    return {
        key: _join([item[key] for item in media if key in item], pad_last=key in _PADDED_LAST)
        for key in keys
    }


def micro_batches(count: int, most: int) -> Iterator[range]:
    """Split `count` rows into runs of at most `most` rows, in order."""
    for start in range(0, count, most):
        yield range(start, min(start + most, count))


def _join(tensors: list[Tensor], *, pad_last: bool) -> Tensor:
    if pad_last:
        width = max(tensor.shape[-1] for tensor in tensors)
        tensors = [
            torch.nn.functional.pad(tensor, (0, width - tensor.shape[-1])) for tensor in tensors
        ]
    return torch.cat(tensors)
