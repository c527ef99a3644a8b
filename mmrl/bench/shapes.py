"""Models of published shapes with random weights, to be measured where the weights themselves are
not at hand: the architecture of Qwen2.5-VL (arXiv 2502.13923) in several sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

FAMILY = "qwen2_5_vl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The sizes of a Qwen2.5-VL model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vision_hidden: int
    vision_depth: int
    vision_heads: int
    vision_intermediate: int
    vocabulary: int | None = None
    """None takes the tiny tokenizer's own."""
    tied: bool = False


SHAPES: Mapping[str, Shape] = {
    "tiny": Shape(
        hidden=128,
        layers=2,
        heads=4,
        kv_heads=2,
        intermediate=256,
        vision_hidden=96,
        vision_depth=2,
        vision_heads=4,
        vision_intermediate=192,
    ),
    "small": Shape(
        hidden=512,
        layers=8,
        heads=8,
        kv_heads=2,
        intermediate=1408,
        vision_hidden=320,
        vision_depth=6,
        vision_heads=4,
        vision_intermediate=864,
    ),
    "3b": Shape(
        hidden=2048,
        layers=36,
        heads=16,
        kv_heads=2,
        intermediate=11008,
        vision_hidden=1280,
        vision_depth=32,
        vision_heads=16,
        vision_intermediate=3420,
        vocabulary=151_936,
        tied=True,
    ),
    "7b": Shape(
        hidden=3584,
        layers=28,
        heads=28,
        kv_heads=4,
        intermediate=18944,
        vision_hidden=1280,
        vision_depth=32,
        vision_heads=16,
        vision_intermediate=3420,
        vocabulary=152_064,
    ),
}


def save_shape(name: str, folder: Path, *, seed: int) -> None:
    """Write a checkpoint of the shape with weights from the seed."""
    model, processor = build_shape(SHAPES[name], seed=seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def build_shape(shape: Shape, *, seed: int) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A Qwen2.5-VL model of the shape, and the tiny model's processor."""
    import torch

    from mmrl.tiny.models import build_tiny

    model, processor = build_tiny(FAMILY, seed=0)
    config: Any = model.config
    head_dim = shape.hidden // shape.heads
    text = config.text_config
    text.hidden_size, text.num_hidden_layers = shape.hidden, shape.layers
    text.num_attention_heads, text.num_key_value_heads = shape.heads, shape.kv_heads
    text.intermediate_size = shape.intermediate
    text.layer_types = ["full_attention"] * shape.layers
    text.rope_parameters["mrope_section"] = _sections(head_dim)
    text.tie_word_embeddings = config.tie_word_embeddings = shape.tied
    if shape.vocabulary:
        text.vocab_size = shape.vocabulary
    vision = config.vision_config
    vision.hidden_size, vision.depth = shape.vision_hidden, shape.vision_depth
    vision.num_heads, vision.intermediate_size = shape.vision_heads, shape.vision_intermediate
    vision.out_hidden_size = shape.hidden
    vision.fullatt_block_indexes = [shape.vision_depth - 1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = type(model)(config)
    built.generation_config = model.generation_config
    return built, processor


def _sections(head_dim: int) -> list[int]:
    """How the rotary pairs are shared among time, height and width: 2 : 3 : 3, as published."""
    pairs = head_dim // 2
    time = pairs // 4
    height = (pairs - time) // 2
    return [time, height, pairs - time - height]
