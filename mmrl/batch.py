"""Puts prompts and completions into tensors. Groups stay together, and padding never stands between
a prompt and its completion.

`packed`   one row `[prompt | c1 | ... | cG | next prompt | ...]`, media once per group
`encoder`  a row `[prompt | completion | padding]` per completion, media once per group
`none`     the same with the media repeated: what every model can do
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from mmrl.config.schema import Sharing
from mmrl.families import completion_positions
from mmrl.sharing.encoder import Expansion
from mmrl.sharing.features import join_features
from mmrl.sharing.layout import arrange, as_mask, tokens_before
from mmrl.types import Prompt

_PADDED_LAST = ("input_features", "feature_attention_mask")
"""Audio tensors are as long as their prompt's longest sound; joined, they are padded on the last
axis.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Completions behind their prompts, ready for one forward pass."""

    ids_NT: Tensor
    """The rows that enter the model: one if packed, one per group if the encoders are shared, else
    one per completion."""
    mask: Tensor
    """[N, T], 1 on tokens; or the layout of a packed row."""
    positions_RNT: Tensor
    media: Mapping[str, Tensor]
    """For the encoders; empty where the prompts have features."""
    features: Mapping[str, Tensor]
    """What the encoders made of the media before."""
    expansion: Expansion | None
    """How rows of prompts become rows of completions before the decoder; None if they do not."""
    predictors_M: Tensor
    """Place of the hidden state that predicts each completion token, among the decoder's rows
    flattened."""
    completion_ids_BC: Tensor
    completion_mask_BC: Tensor
    """1.0 on completion tokens, the end token included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptBatch:
    """Prompts padded on the left, so that sampling goes on at the same place in every row."""

    ids_PT: Tensor
    mask_PT: Tensor
    positions_RPT: Tensor
    media: Mapping[str, Tensor]
    features: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Group:
    """Completions that stand one after the other and share a prompt."""

    prompt: Prompt
    completions: tuple[Sequence[int], ...]

    def positions_RT(self) -> Tensor:
        """Of the prompt, and then of each completion as if it stood alone behind it."""
        prompt_RT = self.prompt.positions_RT
        own = [completion_positions(prompt_RT, len(ids)) for ids in self.completions]
        return torch.cat([prompt_RT, *own], dim=1)


def collate(
    prompts_B: Sequence[Prompt],
    completions_B: Sequence[Sequence[int]],
    *,
    sharing: Sharing,
    pad_id: int,
    device: torch.device | str = "cpu",
    stand_ins: Sequence[Prompt] = (),
) -> Batch:
    """Join each prompt with its completion's token ids; neighbours with the same prompt are a
    group. The media of `stand_ins` go through the encoders beside theirs, and have no completions.
    """
    groups = (*_groups(prompts_B, completions_B), *(Group(prompt, ()) for prompt in stand_ins))
    if sharing == "packed":
        return _packed(groups, pad_id=pad_id, device=device)
    if sharing == "none":
        rows = _rows(
            [*prompts_B, *stand_ins],
            [*completions_B, *(() for _ in stand_ins)],
            pad_id=pad_id,
            device=device,
        )
        return replace(
            rows,
            completion_ids_BC=rows.completion_ids_BC[: len(prompts_B)],
            completion_mask_BC=rows.completion_mask_BC[: len(prompts_B)],
        )
    rows = _rows(prompts_B, completions_B, pad_id=pad_id, device=device)
    heads = _rows(
        [group.prompt for group in groups], [()] * len(groups), pad_id=pad_id, device=device
    )
    sources = [place for place, group in enumerate(groups) for _ in group.completions]
    return Batch(
        ids_NT=heads.ids_NT,
        mask=heads.mask,
        positions_RNT=heads.positions_RNT,
        media=heads.media,
        features=heads.features,
        expansion=Expansion(
            ids_BT=rows.ids_NT,
            mask_BT=rows.mask,
            positions_RBT=rows.positions_RNT,
            sources_B=torch.tensor(sources, device=device),
            prompt_lengths_B=torch.tensor([len(p.ids) for p in prompts_B], device=device),
        ),
        predictors_M=rows.predictors_M,
        completion_ids_BC=rows.completion_ids_BC,
        completion_mask_BC=rows.completion_mask_BC,
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
        **_media_of(prompts_P, device),
    )


def join_media(
    media: Sequence[Mapping[str, Tensor]], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Concatenate the media tensors of several prompts along their first axis, per key."""
    keys = {key: None for item in media for key in item}
    return {
        key: _join([item[key] for item in media if key in item], pad_last=key in _PADDED_LAST).to(
            device
        )
        for key in keys
    }


def _media_of(
    prompts: Sequence[Prompt], device: torch.device | str
) -> dict[Literal["media", "features"], dict[str, Tensor]]:
    features = [prompt.features for prompt in prompts if prompt.features]
    raw = [prompt.media for prompt in prompts if not prompt.features]
    return {"media": join_media(raw, device), "features": join_features(features, device)}


def micro_batches(count: int, most: int) -> Iterator[range]:
    """Split `count` rows into runs of at most `most` rows, in order."""
    for start in range(0, count, most):
        yield range(start, min(start + most, count))


def micro_batches_of_tokens(
    prompts_B: Sequence[Prompt],
    completions_B: Sequence[Sequence[int]],
    *,
    sharing: Sharing,
    most: int,
) -> Iterator[range]:
    """Split rows into runs of at most `most` tokens, in order; a row that is longer stands alone.

    A group that does not fit is split, and its prompt is then run once per part.
    """
    start, tokens, longest = 0, 0, 0
    for place, (prompt, ids) in enumerate(zip(prompts_B, completions_B, strict=True)):
        length = len(prompt.ids) + len(ids)
        if sharing == "packed":
            joins = place > start and prompts_B[place - 1] is prompt
            tokens += len(ids) if joins else length
        else:
            longest = max(longest, length)
            tokens = longest * (place - start + 1)
        if tokens > most and place > start:
            yield range(start, place)
            start, tokens, longest = place, length, length
    if start < len(prompts_B):
        yield range(start, len(prompts_B))


def _groups(
    prompts_B: Sequence[Prompt], completions_B: Sequence[Sequence[int]]
) -> tuple[Group, ...]:
    pairs = zip(prompts_B, completions_B, strict=True)
    runs = [list(run) for _, run in groupby(pairs, key=lambda pair: id(pair[0]))]
    return tuple(Group(run[0][0], tuple(ids for _, ids in run)) for run in runs)


def _packed(groups: Sequence[Group], *, pad_id: int, device: torch.device | str) -> Batch:
    segments = arrange([(len(g.prompt.ids), list(map(len, g.completions))) for g in groups])
    ids = [token for g in groups for part in (g.prompt.ids, *g.completions) for token in part]
    completions_B = [completion for group in groups for completion in group.completions]
    completion_ids_BC, completion_mask_BC = _completions(completions_B, pad_id)
    predictors = [place for segment in segments for place in tokens_before(segment)]
    return Batch(
        ids_NT=torch.tensor([ids], device=device),
        mask=as_mask(segments),
        positions_RNT=torch.cat([g.positions_RT() for g in groups], dim=1)[:, None].to(device),
        **_media_of([group.prompt for group in groups], device),
        expansion=None,
        predictors_M=torch.tensor(predictors, dtype=torch.long, device=device),
        completion_ids_BC=completion_ids_BC.to(device),
        completion_mask_BC=completion_mask_BC.to(device),
    )


def _rows(
    prompts_B: Sequence[Prompt],
    completions_B: Sequence[Sequence[int]],
    *,
    pad_id: int,
    device: torch.device | str,
) -> Batch:
    pairs = list(zip(prompts_B, completions_B, strict=True))
    rows, width = len(pairs), max(len(prompt.ids) + len(ids) for prompt, ids in pairs)
    axes = prompts_B[0].positions_RT.shape[0]
    ids_BT = torch.full((rows, width), pad_id)
    mask_BT = torch.zeros((rows, width), dtype=torch.long)
    positions_RBT = torch.zeros((axes, rows, width), dtype=torch.long)
    predictors: list[int] = []
    for row, (prompt, completion) in enumerate(pairs):
        end = len(prompt.ids) + len(completion)
        ids_BT[row, :end] = torch.tensor([*prompt.ids, *completion])
        mask_BT[row, :end] = 1
        positions_RBT[:, row, :end] = Group(prompt, (completion,)).positions_RT()
        # the hidden state at one place predicts the token at the next
        predictors += range(row * width + len(prompt.ids) - 1, row * width + end - 1)
    completion_ids_BC, completion_mask_BC = _completions(completions_B, pad_id)
    return Batch(
        ids_NT=ids_BT.to(device),
        mask=mask_BT.to(device),
        positions_RNT=positions_RBT.to(device),
        **_media_of(prompts_B, device),
        expansion=None,
        predictors_M=torch.tensor(predictors, dtype=torch.long, device=device),
        completion_ids_BC=completion_ids_BC.to(device),
        completion_mask_BC=completion_mask_BC.to(device),
    )


def _completions(completions_B: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    width = max(1, *map(len, completions_B)) if completions_B else 1
    ids_BC = torch.full((len(completions_B), width), pad_id)
    mask_BC = torch.zeros((len(completions_B), width))
    for row, completion in enumerate(completions_B):
        ids_BC[row, : len(completion)] = torch.tensor(completion, dtype=torch.long)
        mask_BC[row, : len(completion)] = 1
    return ids_BC, mask_BC


def _join(tensors: list[Tensor], *, pad_last: bool) -> Tensor:
    if pad_last:
        width = max(tensor.shape[-1] for tensor in tensors)
        tensors = [
            torch.nn.functional.pad(tensor, (0, width - tensor.shape[-1])) for tensor in tensors
        ]
    return torch.cat(tensors)
