"""Runs the encoders once per group where the decoder has to run once per completion: prompts with
their media enter the model, and are repeated at the decoder's door.

What a decoder is given differs between families in one point only: some add the encoder's inner
features to their first layers (Qwen3-VL's deepstack), so these are repeated too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, kw_only=True, slots=True)
class Expansion:
    """The rows that the decoder is to see."""

    ids_BT: Tensor
    mask_BT: Tensor
    positions_RBT: Tensor
    sources_B: Tensor
    """Which prompt's row each row begins with."""
    prompt_lengths_B: Tensor


@contextmanager
def decoder_sees(model: Any, expansion: Expansion | None) -> Iterator[None]:
    """While inside, the decoder is given the expanded rows in place of the prompts."""
    if expansion is None:
        yield
        return
    embed = model.get_input_embeddings()

    def expand(_: Any, arguments: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return arguments, kwargs | _expanded(kwargs, expansion, embed)

    handle = model.get_decoder().register_forward_pre_hook(expand, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _expanded(kwargs: dict[str, Any], expansion: Expansion, embed: Any) -> dict[str, Any]:
    prompts_PTD = kwargs["inputs_embeds"]
    width = expansion.ids_BT.shape[1]
    places_T = torch.arange(width, device=prompts_PTD.device)
    in_prompt_BT = places_T < expansion.prompt_lengths_B[:, None]
    prompts_BTD = pad(prompts_PTD, (0, 0, 0, width - prompts_PTD.shape[1]))[expansion.sources_B]
    embeds_BTD = embed(expansion.ids_BT).to(prompts_BTD.dtype)
    positions = expansion.positions_RBT
    changed = {
        "inputs_embeds": torch.where(in_prompt_BT[..., None], prompts_BTD, embeds_BTD),
        "attention_mask": expansion.mask_BT,
        "position_ids": positions if len(positions) > 1 else positions[0],
    }
    masks_PT = kwargs.get("visual_pos_masks")
    if masks_PT is None:
        return changed
    counts = masks_PT.sum(-1).tolist()
    sources = expansion.sources_B.tolist()
    layers = [layer.split(counts) for layer in kwargs["deepstack_visual_embeds"]]
    return changed | {
        "visual_pos_masks": pad(masks_PT, (0, width - masks_PT.shape[1]))[expansion.sources_B],
        "deepstack_visual_embeds": [
            torch.cat([parts[source] for source in sources]) for parts in layers
        ],
    }
