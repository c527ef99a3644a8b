"""The parameters of a model, by the names that transformers gives them: what `model.freeze`
matches, what learns, and what a token is multiplied with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mmrl.errors import ConfigError
from mmrl.parts import FROZEN, encoder_part
from mmrl.plan.dimensions import Audio, Dimensions, Text, Vision

Named = Iterator[tuple[str, int]]

_TEXT_PREFIX = {"qwen2_5_omni": "model", "smolvlm": "model.text_model"}
_VISION_PREFIX = {
    "qwen2_5_omni": "visual",
    "smolvlm": "model.vision_model",
    "llava_onevision": "model.vision_tower",
}
_SIGLIP = ("smolvlm", "llava_onevision")


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Parameters by the part of the model that they belong to."""

    embedding: int = 0
    decoder: int = 0
    head: int = 0
    """0 where it is the embedding."""
    vision: int = 0
    audio: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.embedding + self.decoder + self.head + self.encoders

    @property
    def encoders(self) -> int:
        """Those of the towers, with what brings their features to the decoder's width."""
        return self.vision + self.audio


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """How many parameters a model has, and how many of them learn."""

    all: Counts
    learning: Counts


def count_parameters(model: Dimensions, freeze: str | Sequence[str] = ()) -> Parameters:
    """Count a model's parameters; what `freeze` names, or what matches one of its expressions, does
    not learn.

    Raises:
        ConfigError: an expression matches no parameter, or all of them are frozen.
    """
    names = named_parameters(model)
    frozen = _frozen(names, model.family, freeze)
    learning = {name: count for name, count in names.items() if name not in frozen}
    if not learning:
        raise ConfigError("model.freeze: every parameter is frozen, nothing can learn")
    return Parameters(all=_counts(names), learning=_counts(learning))


def named_parameters(model: Dimensions) -> Mapping[str, int]:
    """Elements of every parameter, by name."""
    family, text = model.family, model.text
    found: dict[str, int] = {}
    if model.vision is not None:
        found.update(_vision(model.vision, family, text.hidden))
    if model.audio is not None:
        found.update(_audio(model.audio, family, text.hidden))
    found.update(_text(text, family))
    return found


def _frozen(names: Mapping[str, int], family: str, freeze: str | Sequence[str]) -> set[str]:
    frozen: set[str] = set()
    if isinstance(freeze, str):
        language = (_TEXT_PREFIX.get(family, "model.language_model"), "lm_head")
        encoders = {name for name in names if not name.startswith(language)}
        return {name for name in encoders if encoder_part(name) in FROZEN[freeze]}
    for pattern in freeze:
        try:
            matched = {name for name in names if re.search(pattern, name)}
        except re.error as error:
            raise ConfigError(
                f"model.freeze: {pattern!r} is no regular expression: {error}"
            ) from error
        if not matched:
            raise ConfigError(
                f"model.freeze: {pattern!r} matches no parameter; names look like "
                f"{next(iter(names))!r}"
            )
        frozen |= matched
    return frozen


def _counts(names: Mapping[str, int]) -> Counts:
    sums: dict[str, int] = {}
    for name, count in names.items():
        sums[_part(name)] = sums.get(_part(name), 0) + count
    return Counts(**sums)


def _part(name: str) -> str:
    if "audio_tower" in name or name.startswith("model.multi_modal_projector.linear."):
        return "audio"
    if re.search(r"visual\.|vision_|connector|multi_modal_projector|image_newline", name):
        return "vision"
    if "embed_tokens" in name:
        return "embedding"
    return "head" if name == "lm_head.weight" else "decoder"


def _text(text: Text, family: str) -> Named:
    prefix = _TEXT_PREFIX.get(family, "model.language_model")
    hidden, inner = text.hidden, text.intermediate
    queries, keys = text.heads * text.head_dim, text.kv_heads * text.head_dim
    yield f"{prefix}.embed_tokens.weight", text.vocabulary * hidden
    for layer in range(text.layers):
        at = f"{prefix}.layers.{layer}"
        for name, size in (("q", queries), ("k", keys), ("v", keys)):
            yield f"{at}.self_attn.{name}_proj.weight", size * hidden
            if family not in ("qwen3_vl", "smolvlm"):
                yield f"{at}.self_attn.{name}_proj.bias", size
        yield f"{at}.self_attn.o_proj.weight", queries * hidden
        if family == "qwen3_vl":
            yield f"{at}.self_attn.q_norm.weight", text.head_dim
            yield f"{at}.self_attn.k_norm.weight", text.head_dim
        for name in ("gate_proj", "up_proj", "down_proj"):
            yield f"{at}.mlp.{name}.weight", hidden * inner
        yield f"{at}.input_layernorm.weight", hidden
        yield f"{at}.post_attention_layernorm.weight", hidden
    yield f"{prefix}.norm.weight", hidden
    if not text.tied:
        yield "lm_head.weight", text.vocabulary * hidden


def _vision(vision: Vision, family: str, out: int) -> Named:
    prefix = _VISION_PREFIX.get(family, "model.visual")
    if family in _SIGLIP:
        yield from _siglip(vision, prefix)
        yield from _connector(vision, family, out)
        return
    hidden = vision.hidden
    yield f"{prefix}.patch_embed.proj.weight", hidden * 3 * 2 * vision.patch**2
    if family == "qwen3_vl":
        yield f"{prefix}.patch_embed.proj.bias", hidden
        yield f"{prefix}.pos_embed.weight", vision.positions * hidden
    for layer in range(vision.depth):
        yield from _block(vision, family, f"{prefix}.blocks.{layer}")
    yield from _mergers(vision, family, prefix, out)


def _block(vision: Vision, family: str, at: str) -> Named:
    hidden, inner = vision.hidden, vision.intermediate
    gated = family in ("qwen2_5_vl", "qwen2_5_omni")
    for norm in ("norm1", "norm2"):
        yield from _norm(f"{at}.{norm}", hidden, bias=not gated)
    if family == "qwen2_5_omni":
        for name in "qkv":
            yield from _linear(f"{at}.attn.{name}", hidden, hidden)
    else:
        yield from _linear(f"{at}.attn.qkv", hidden, 3 * hidden)
    yield from _linear(f"{at}.attn.proj", hidden, hidden)
    if gated:
        yield from _linear(f"{at}.mlp.gate_proj", hidden, inner)
        yield from _linear(f"{at}.mlp.up_proj", hidden, inner)
        yield from _linear(f"{at}.mlp.down_proj", inner, hidden)
        return
    prefix = "linear_" if family == "qwen3_vl" else ""
    yield from _linear(f"{at}.mlp.{prefix}fc1", hidden, inner)
    yield from _linear(f"{at}.mlp.{prefix}fc2", inner, hidden)


def _mergers(vision: Vision, family: str, prefix: str, out: int) -> Named:
    hidden, wide = vision.hidden, vision.hidden * vision.merge**2
    if family != "qwen3_vl":
        yield from _norm(f"{prefix}.merger.ln_q", hidden, bias=family == "qwen2_vl")
        yield from _linear(f"{prefix}.merger.mlp.0", wide, wide)
        yield from _linear(f"{prefix}.merger.mlp.2", wide, out)
        return
    lists = [f"{prefix}.deepstack_merger_list.{place}" for place in range(vision.deepstack)]
    for at, normed in ((f"{prefix}.merger", hidden), *((name, wide) for name in lists)):
        yield from _norm(f"{at}.norm", normed)
        yield from _linear(f"{at}.linear_fc1", wide, wide)
        yield from _linear(f"{at}.linear_fc2", wide, out)


def _siglip(vision: Vision, prefix: str) -> Named:
    hidden = vision.hidden
    yield from _linear(f"{prefix}.embeddings.patch_embedding", 3 * vision.patch**2, hidden)
    yield f"{prefix}.embeddings.position_embedding.weight", vision.positions * hidden
    for layer in range(vision.depth):
        at = f"{prefix}.encoder.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{at}.self_attn.{name}", hidden, hidden)
        yield from _norm(f"{at}.layer_norm1", hidden)
        yield from _norm(f"{at}.layer_norm2", hidden)
        yield from _linear(f"{at}.mlp.fc1", hidden, vision.intermediate)
        yield from _linear(f"{at}.mlp.fc2", vision.intermediate, hidden)
    yield from _norm(f"{prefix}.post_layernorm", hidden)


def _connector(vision: Vision, family: str, out: int) -> Named:
    if family == "smolvlm":
        wide = vision.hidden * vision.merge**2
        yield "model.connector.modality_projection.proj.weight", wide * out
        return
    yield "model.image_newline", out
    yield from _linear("model.multi_modal_projector.linear_1", vision.hidden, out)
    yield from _linear("model.multi_modal_projector.linear_2", out, out)


def _audio(audio: Audio, family: str, out: int) -> Named:
    omni = family == "qwen2_5_omni"
    prefix = "audio_tower" if omni else "model.audio_tower"
    hidden = audio.hidden
    yield from _linear(f"{prefix}.conv1", 3 * audio.mel, hidden)
    yield from _linear(f"{prefix}.conv2", 3 * hidden, hidden)
    if not omni:
        yield f"{prefix}.embed_positions.weight", audio.positions * hidden
    for layer in range(audio.depth):
        at = f"{prefix}.layers.{layer}"
        yield f"{at}.self_attn.k_proj.weight", hidden * hidden
        for name in ("q_proj", "v_proj", "out_proj"):
            yield from _linear(f"{at}.self_attn.{name}", hidden, hidden)
        yield from _norm(f"{at}.self_attn_layer_norm", hidden)
        yield from _linear(f"{at}.fc1", hidden, audio.intermediate)
        yield from _linear(f"{at}.fc2", audio.intermediate, hidden)
        yield from _norm(f"{at}.final_layer_norm", hidden)
    if omni:
        yield f"{prefix}.audio_bos_eos_token.weight", 2 * out
        yield from _norm(f"{prefix}.ln_post", hidden)
        yield from _linear(f"{prefix}.proj", hidden, out)
    else:
        yield from _norm(f"{prefix}.layer_norm", hidden)
        yield from _linear("model.multi_modal_projector.linear", hidden, out)


def _linear(name: str, inputs: int, outputs: int) -> Named:
    yield f"{name}.weight", inputs * outputs
    yield f"{name}.bias", outputs


def _norm(name: str, size: int, *, bias: bool = True) -> Named:
    yield f"{name}.weight", size
    if bias:
        yield f"{name}.bias", size
