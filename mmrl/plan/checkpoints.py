"""Finds the sizes of the model that a stage names, without loading it: by its name, or from the
config.json of its folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrl.config.schema import FamilyName, ModelConfig
from mmrl.errors import ConfigError
from mmrl.plan.dimensions import PUBLISHED, TINY, Audio, Dimensions, Text, Vision

_TEXT_DEFAULTS = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
"""What published configurations leave out, because transformers has the same default."""


def dimensions_of(config: ModelConfig) -> Dimensions:
    """The sizes of the model that the configuration names.

    Raises:
        ConfigError: neither its name nor a config.json says them, or they are of another family.
    """
    if config.tiny is not None:
        return TINY[config.tiny]
    path = str(config.path)
    if Path(path).is_dir():
        return read_dimensions(Path(path), config.family)
    name = path.rstrip("/").rpartition("/")[2].lower()
    known = [key for key in PUBLISHED if name.startswith(key)]
    if not known:
        raise ConfigError(
            f"model.path: the sizes of {path!r} are not known; give the folder of a checkpoint, "
            f"or one of these: {', '.join(PUBLISHED)}"
        )
    found = PUBLISHED[max(known, key=len)]
    if found.family != config.family:
        raise ConfigError(f"model.family: {path!r} is a {found.family}, not a {config.family}")
    return found


def read_dimensions(folder: Path, family: FamilyName) -> Dimensions:
    """The sizes that a checkpoint's config.json gives.

    Raises:
        ConfigError: it is not there, or it is not of the family.
    """
    file = folder / "config.json"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        values = values.get("thinker_config", values)
        return Dimensions(
            family=family,
            text=_text(values, family),
            vision=_vision(values, family) if "vision_config" in values else None,
            audio=_audio(values["audio_config"], family) if "audio_config" in values else None,
        )
    except OSError as error:
        raise ConfigError(f"model.path: {file}: {error.strerror or error}") from error
    except KeyError as error:
        raise ConfigError(f"model.path: {file}: {error} is missing for a {family}") from error
    except (ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise ConfigError(f"model.path: {file}: not the configuration of a {family}") from error


def _text(values: Mapping[str, Any], family: FamilyName) -> Text:
    text = _TEXT_DEFAULTS | dict(values.get("text_config", values))
    heads = int(text["num_attention_heads"])
    # transformers does not tie a Qwen2-Audio, whatever is said of its language model
    inner = family != "qwen2_audio" and text.get("tie_word_embeddings", False)
    tied = values.get("tie_word_embeddings", inner)
    return Text(
        hidden=int(text["hidden_size"]),
        layers=int(text["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(text.get("num_key_value_heads") or heads),
        intermediate=int(text["intermediate_size"]),
        vocabulary=int(text["vocab_size"]),
        tied=bool(tied),
        head_dim=int(text.get("head_dim") or int(text["hidden_size"]) // heads),
    )


def _vision(values: Mapping[str, Any], family: FamilyName) -> Vision:
    vision = values["vision_config"]
    if family in ("smolvlm", "llava_onevision"):
        return _siglip(values, vision, family)
    hidden = int(vision["embed_dim" if family == "qwen2_vl" else "hidden_size"])
    windowed = family in ("qwen2_5_vl", "qwen2_5_omni")
    return Vision(
        hidden=hidden,
        depth=int(vision["depth"]),
        heads=int(vision["num_heads"]),
        intermediate=int(vision["mlp_ratio"]) * hidden
        if family == "qwen2_vl"
        else int(vision["intermediate_size"]),
        patch=int(vision["patch_size"]),
        merge=int(vision["spatial_merge_size"]),
        window=int(vision["window_size"]) if windowed else None,
        full_layers=len(vision["fullatt_block_indexes"]) if windowed else 0,
        deepstack=len(vision.get("deepstack_visual_indexes", ())),
        positions=int(vision.get("num_position_embeddings", 0)),
    )


def _siglip(values: Mapping[str, Any], vision: Mapping[str, Any], family: FamilyName) -> Vision:
    tile, patch = int(vision["image_size"]), int(vision["patch_size"])
    tiled: dict[str, int] = {"most_tiles": 4}
    if family == "llava_onevision":
        longest = max(max(size) for size in values["image_grid_pinpoints"])
        pooled = int(str(values["vision_aspect_ratio"]).rpartition("_")[2])
        tiled = {"most_tiles": longest // tile, "pooled_tiles": pooled}
    return Vision(
        hidden=int(vision["hidden_size"]),
        depth=int(vision["num_hidden_layers"]),
        heads=int(vision["num_attention_heads"]),
        intermediate=int(vision["intermediate_size"]),
        patch=patch,
        merge=int(values["scale_factor"]) if family == "smolvlm" else 1,
        positions=(tile // patch) ** 2,
        tile=tile,
        **tiled,
    )


def _audio(audio: Mapping[str, Any], family: FamilyName) -> Audio:
    return Audio(
        hidden=int(audio["d_model"]),
        depth=int(audio["encoder_layers"]),
        heads=int(audio["encoder_attention_heads"]),
        intermediate=int(audio["encoder_ffn_dim"]),
        mel=int(audio["num_mel_bins"]),
        positions=int(audio["max_source_positions"]),
        window=int(audio["n_window"]) if family == "qwen2_5_omni" else 0,
    )
