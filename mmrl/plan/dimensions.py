"""The sizes of published models, as their configurations on the model hub give them, and of the
tiny ones.

Qwen2-VL: arXiv 2409.12191. Qwen2.5-VL: arXiv 2502.13923. Qwen3-VL: arXiv 2511.21631. Qwen2.5-Omni,
of which the thinker is trained: arXiv 2503.20215. Qwen2-Audio: arXiv 2407.10759. SmolVLM2:
arXiv 2504.05299. LLaVA-OneVision: arXiv 2408.03326.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from mmrl.config.schema import FamilyName


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """The language model: pre-norm layers of grouped-query attention and a gated MLP."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    tied: bool = False
    """The head is the embedding."""
    head_dim: int = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Vision:
    """A vision tower and what brings its features to the language model's width."""

    hidden: int
    depth: int
    heads: int
    intermediate: int
    patch: int = 14
    """Pixels on a side."""
    merge: int = 2
    """So many patches on a side become one token."""
    window: int | None = None
    """Pixels on a side of what a patch attends to, in all layers but `full_layers`; None where all
    of a picture is seen."""
    full_layers: int = 0
    deepstack: int = 0
    """Inner layers whose features reach the decoder too (Qwen3-VL)."""
    positions: int = 0
    """Learned positions."""
    tile: int = 0
    """Pixels on a side of the tiles that pictures are cut into; 0 where they are not."""
    most_tiles: int = 0
    """On a side."""
    pooled_tiles: int = 0
    """Larger pictures are pooled to so many tiles' tokens; 0 where they are not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Audio:
    """A Whisper encoder and its projection."""

    hidden: int = 1280
    depth: int = 32
    heads: int = 20
    intermediate: int = 5120
    mel: int = 128
    positions: int = 1500
    window: int = 0
    """Positions that see each other; 0 where all of a sound do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimensions:
    """The sizes of a model."""

    family: FamilyName
    text: Text
    vision: Vision | None = None
    audio: Audio | None = None


_QWEN_VISION = Vision(hidden=1280, depth=32, heads=16, intermediate=5120)
_WINDOWED = replace(_QWEN_VISION, intermediate=3420, window=112, full_layers=4)
_WINDOWED_WIDE = replace(_WINDOWED, intermediate=3456)
_QWEN3_VISION = Vision(
    hidden=1024,
    depth=24,
    heads=16,
    intermediate=4096,
    patch=16,
    deepstack=3,
    positions=2304,
)
_SIGLIP = Vision(
    hidden=1152,
    depth=27,
    heads=16,
    intermediate=4304,
    merge=3,
    positions=729,
    tile=384,
    most_tiles=4,
)
_OMNI_AUDIO = Audio(window=100)

_2B = Text(
    hidden=1536,
    layers=28,
    heads=12,
    kv_heads=2,
    intermediate=8960,
    vocabulary=151_936,
    tied=True,
)
_3B = Text(
    hidden=2048,
    layers=36,
    heads=16,
    kv_heads=2,
    intermediate=11_008,
    vocabulary=151_936,
    tied=True,
)
_7B = Text(hidden=3584, layers=28, heads=28, kv_heads=4, intermediate=18_944, vocabulary=152_064)
_32B = Text(hidden=5120, layers=64, heads=40, kv_heads=8, intermediate=27_648, vocabulary=152_064)
_72B = Text(hidden=8192, layers=80, heads=64, kv_heads=8, intermediate=29_568, vocabulary=152_064)
_QWEN3_2B = Text(
    hidden=2048,
    layers=28,
    heads=16,
    kv_heads=8,
    intermediate=6144,
    vocabulary=151_936,
    tied=True,
)
_QWEN3_4B = replace(_QWEN3_2B, hidden=2560, layers=36, heads=32, intermediate=9728)
_QWEN3_8B = replace(_QWEN3_4B, hidden=4096, intermediate=12_288, tied=False)


def _qwen2_vl(text: Text) -> Dimensions:
    return Dimensions(family="qwen2_vl", text=text, vision=_QWEN_VISION)


def _qwen2_5_vl(text: Text, vision: Vision) -> Dimensions:
    return Dimensions(family="qwen2_5_vl", text=text, vision=vision)


def _qwen3_vl(text: Text, vision: Vision) -> Dimensions:
    return Dimensions(family="qwen3_vl", text=text, vision=vision)


def _omni(text: Text) -> Dimensions:
    return Dimensions(family="qwen2_5_omni", text=text, vision=_WINDOWED, audio=_OMNI_AUDIO)


PUBLISHED: Mapping[str, Dimensions] = MappingProxyType(
    {
        "qwen2-vl-2b": _qwen2_vl(_2B),
        "qwen2-vl-7b": _qwen2_vl(_7B),
        "qwen2-vl-72b": _qwen2_vl(_72B),
        "qwen2.5-vl-3b": _qwen2_5_vl(_3B, _WINDOWED),
        "qwen2.5-vl-7b": _qwen2_5_vl(_7B, _WINDOWED),
        "qwen2.5-vl-32b": _qwen2_5_vl(_32B, _WINDOWED_WIDE),
        "qwen2.5-vl-72b": _qwen2_5_vl(_72B, _WINDOWED_WIDE),
        "qwen3-vl-2b": _qwen3_vl(_QWEN3_2B, _QWEN3_VISION),
        "qwen3-vl-4b": _qwen3_vl(_QWEN3_4B, _QWEN3_VISION),
        "qwen3-vl-8b": _qwen3_vl(
            _QWEN3_8B, replace(_QWEN3_VISION, hidden=1152, depth=27, intermediate=4304)
        ),
        "qwen2.5-omni-3b": _omni(replace(_3B, tied=False)),
        "qwen2.5-omni-7b": _omni(_7B),
        "qwen2-audio-7b": Dimensions(
            family="qwen2_audio",
            text=Text(
                hidden=4096,
                layers=32,
                heads=32,
                kv_heads=32,
                intermediate=11_008,
                vocabulary=156_032,
            ),
            audio=Audio(),
        ),
        "smolvlm2-2.2b": Dimensions(
            family="smolvlm",
            text=Text(
                hidden=2048,
                layers=24,
                heads=32,
                kv_heads=32,
                intermediate=8192,
                vocabulary=49_280,
                head_dim=64,
            ),
            vision=_SIGLIP,
        ),
        "llava-onevision-qwen2-7b": Dimensions(
            family="llava_onevision",
            text=replace(_7B, vocabulary=152_128),
            vision=replace(_SIGLIP, depth=26, merge=1, most_tiles=6, pooled_tiles=9),
        ),
    }
)
"""By the part of a checkpoint's name that says which model it is."""

_TINY_TEXT = Text(
    hidden=128,
    layers=4,
    heads=4,
    kv_heads=2,
    intermediate=256,
    vocabulary=990,
    tied=True,
    head_dim=32,
)
_TINY_VISION = Vision(hidden=96, depth=2, heads=4, intermediate=192)
_TINY_WINDOWED = replace(_TINY_VISION, window=112, full_layers=1)
_TINY_AUDIO = Audio(hidden=96, depth=2, heads=4, intermediate=192, mel=64, positions=200)
_TINY_TILES = replace(_TINY_VISION, positions=16, tile=56, most_tiles=3)

TINY: Mapping[str, Dimensions] = MappingProxyType(
    {
        "qwen2_5_omni": Dimensions(
            family="qwen2_5_omni",
            text=_TINY_TEXT,
            vision=_TINY_WINDOWED,
            audio=replace(_TINY_AUDIO, window=100),
        ),
        "qwen2_vl": Dimensions(family="qwen2_vl", text=_TINY_TEXT, vision=_TINY_VISION),
        "qwen2_5_vl": Dimensions(family="qwen2_5_vl", text=_TINY_TEXT, vision=_TINY_WINDOWED),
        "qwen3_vl": Dimensions(
            family="qwen3_vl",
            text=_TINY_TEXT,
            vision=replace(_TINY_VISION, depth=3, deepstack=2, positions=64),
        ),
        "qwen2_audio": Dimensions(
            family="qwen2_audio",
            text=replace(_TINY_TEXT, tied=False),
            audio=replace(_TINY_AUDIO, positions=1500),
        ),
        "smolvlm": Dimensions(
            family="smolvlm", text=replace(_TINY_TEXT, vocabulary=1004), vision=_TINY_TILES
        ),
        "llava_onevision": Dimensions(
            family="llava_onevision",
            text=_TINY_TEXT,
            vision=replace(_TINY_TILES, merge=1, pooled_tiles=4),
        ),
    }
)
"""What mmrl/tiny builds."""
