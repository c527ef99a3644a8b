"""Hands a prompt to vLLM as training sees it: the same token ids, and the tensors that the
processor made of its media, so that nothing is decoded or processed a second time.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmrl.errors import DataError

if TYPE_CHECKING:
    from mmrl.model import Policy
    from mmrl.types import MediaKind, Prompt


def engine_input(policy: Policy, processor: Any, prompt: Prompt) -> dict[str, Any]:
    """What vLLM's engine takes for a prompt. `processor` is vLLM's own for the model: it knows
    which tensor belongs to which medium.

    Raises:
        DataError: tokens and features of the prompt differ in number.
    """
    inputs = of_vllm("inputs.engine")
    if not prompt.media:
        return dict(inputs.tokens_input(list(prompt.ids)))
    items = _items(processor, prompt)
    places = {kind: _places(policy, prompt, kind) for kind in items}
    return dict(
        inputs.mm_input(
            list(prompt.ids),
            items,
            {
                kind: [f"{prompt.media_key}-{kind}-{place}" for place in range(len(own))]
                for kind, own in items.items()
            },
            places,
        )
    )


def of_vllm(module: str) -> Any:
    """A module of vLLM by its name; it has no types that can be checked here."""
    return importlib.import_module(f"vllm.{module}")


def _items(processor: Any, prompt: Prompt) -> Any:
    """The tensors of each medium, by kind, in the order of the prompt."""
    from transformers import BatchFeature

    media: dict[str, Any] = dict(prompt.media)
    if "input_features" in media and "input_audio_features" in _fields(processor, media):
        _flatten_sounds(media)
    if "video_second_per_grid" in media:
        media["second_per_grid_ts"] = media["video_second_per_grid"]
    found = BatchFeature(media)
    items = of_vllm("multimodal.inputs").MultiModalKwargsItems
    return items.from_hf_inputs(found, _fields(processor, found))


def _fields(processor: Any, media: Mapping[str, Any]) -> Mapping[str, Any]:
    from transformers import BatchFeature

    return processor._get_mm_fields_config(BatchFeature(dict(media)), {})


def _flatten_sounds(media: dict[str, Any]) -> None:
    """Sounds one behind the other [mel, frames], without the padding of the shorter ones."""
    mask_NF = media["feature_attention_mask"]
    features_NMF = media.pop("input_features")
    media["input_audio_features"] = features_NMF.permute(0, 2, 1)[mask_NF.bool()].permute(1, 0)
    media["audio_feature_lengths"] = mask_NF.sum(-1)


def _places(policy: Policy, prompt: Prompt, kind: MediaKind) -> list[Any]:
    """Where the features of each medium go: from its first token to its last, and which of the
    tokens between stand for it.
    """
    make_range = of_vllm("multimodal.inputs").PlaceholderRange
    token = getattr(policy.model.config, f"{kind}_token_id")
    found = [place for place, own in enumerate(prompt.ids) if own == token]
    lengths = _lengths(policy, prompt.media, kind)
    if sum(lengths) != len(found):
        raise DataError(
            f"row {prompt.row.id}: {len(found)} {kind} tokens in the prompt for {sum(lengths)} "
            f"{kind} features; vLLM would be given another prompt than the trainer"
        )
    ranges, start = [], 0
    for length in lengths:
        own = found[start : start + length]
        start += length
        first, last = own[0], own[-1]
        is_embed = None
        if last - first + 1 > length:
            # Frames stand apart, with their times between; vLLM looks for the token that opens the
            # first one.
            first -= 1
            is_embed = torch.zeros(last - first + 1, dtype=torch.bool)
            is_embed[torch.tensor(own) - first] = True
        ranges.append(make_range(offset=first, length=last - first + 1, is_embed=is_embed))
    return ranges


def _lengths(policy: Policy, media: Mapping[str, Tensor], kind: MediaKind) -> list[int]:
    """Tokens of each medium of a kind."""
    key = _SIZES[kind]
    count = policy.family.feature_counts
    return [
        count(policy.model, {key: media[key][place : place + 1]})[kind]
        for place in range(len(media[key]))
    ]


_SIZES: dict[MediaKind, str] = {
    "image": "image_grid_thw",
    "video": "video_grid_thw",
    "audio": "feature_attention_mask",
}
"""The tensor that says how large each medium of a kind is."""
