"""The models of configs/model/ as transformers builds them, without their weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest


@pytest.fixture(scope="session")
def on_meta() -> Callable[[Any], Any]:
    """Builds a model of given sizes on the meta device."""
    return cache(_build)


def _build(sizes) -> Any:
    import torch

    tiny = _tiny(sizes.family)
    with torch.device("meta"):
        return type(tiny)(_enlarged(tiny.config, sizes))


@cache
def _tiny(family: str) -> Any:
    from mmrl.tiny.models import build_tiny

    return build_tiny(family, seed=0)[0]


def _enlarged(config, sizes):
    """The configuration of a tiny model with the sizes of a published one."""
    values = config.to_dict()
    text, vision, audio = sizes.text, sizes.vision, sizes.audio
    values["tie_word_embeddings"] = text.tied
    values["text_config"] |= {
        "hidden_size": text.hidden,
        "num_hidden_layers": text.layers,
        "num_attention_heads": text.heads,
        "num_key_value_heads": text.kv_heads,
        "head_dim": text.head_dim,
        "intermediate_size": text.intermediate,
        "vocab_size": text.vocabulary,
        "tie_word_embeddings": text.tied,
    }
    if "layer_types" in values["text_config"]:
        values["text_config"]["layer_types"] = ["full_attention"] * text.layers
    if "mrope_section" in (values["text_config"].get("rope_parameters") or {}):
        values["text_config"]["rope_parameters"]["mrope_section"] = [16, 24, 24]
    if vision is not None:
        values["vision_config"] |= _vision(vision, sizes.family, text.hidden)
        if sizes.family == "smolvlm":
            values["scale_factor"] = vision.merge
    if audio is not None:
        values["audio_config"] |= {
            "d_model": audio.hidden,
            "encoder_layers": audio.depth,
            "encoder_attention_heads": audio.heads,
            "encoder_ffn_dim": audio.intermediate,
            "num_mel_bins": audio.mel,
            "max_source_positions": audio.positions,
            "output_dim": text.hidden,
        }
    return type(config).from_dict(values)


def _vision(vision, family: str, width: int) -> dict[str, Any]:
    found = {
        "hidden_size": vision.hidden,
        "depth": vision.depth,
        "num_hidden_layers": vision.depth,
        "num_heads": vision.heads,
        "num_attention_heads": vision.heads,
        "intermediate_size": vision.intermediate,
        "patch_size": vision.patch,
        "out_hidden_size": width,
        "num_position_embeddings": vision.positions,
        "image_size": vision.tile,
        "deepstack_visual_indexes": [8, 16, 24][: vision.deepstack],
        "fullatt_block_indexes": [7, 15, 23, 31],
    }
    if family == "qwen2_vl":
        ratio = vision.intermediate // vision.hidden
        found |= {"embed_dim": vision.hidden, "hidden_size": width, "mlp_ratio": ratio}
    return found
