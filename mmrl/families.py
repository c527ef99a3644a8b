"""What differs between model families: their class, their media, their coordinates and how token
positions are counted.

A new family is one entry in FAMILIES. Positions are those of its pretraining (multimodal rotary
positions: Qwen2-VL, arXiv 2409.12191, section 2.1): the model's own `get_rope_index` is asked where
it gives them, else mmrl/positions.py. What a family does not have in common with the others stands
in a file of its own (mmrl/tiles.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mmrl.positions import grid_positions, timed_positions
from mmrl.tiles import (
    count_llava_onevision,
    count_smolvlm,
    process_llava_onevision,
    process_smolvlm,
    take_videos_of_any_length,
)
from mmrl.types import MediaKind

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Positions = Callable[[Any, "Tensor", Mapping[str, "Tensor"]], "Tensor"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A family of checkpoints that share a transformers class."""

    model_class: str
    processor_class: str
    media: frozenset[MediaKind]
    coordinates: Literal["pixel", "norm1000", "unit"]
    """The space in which the family was taught to write boxes."""
    positions: Positions
    """(model, ids_1T, media) -> positions_R1T, R rotary axes."""
    feature_counts: Callable[[Any, Mapping[str, Tensor]], dict[MediaKind, int]]
    """(model, media) -> how many placeholder tokens the media's features fill, by kind."""
    video_timing: Literal["metadata", "fps"] = "metadata"
    """How the processor is told the time of frames: per video, or one rate for all."""
    video_limits: Literal["frame", "video"] = "frame"
    """Whether its processor takes the limits of pixels for each frame, or for all frames of a video
    together.
    """
    trims_audio: bool = False
    """The audio tower takes sounds of any length, so the processor's padding to the longest one can
    be cut off.
    """
    processing: Callable[..., Mapping[str, Any]] | None = None
    """(policy, text, decoded, media config) -> what the processor gives, for a processor that
    cannot be given a whole prompt in one call.
    """
    prepare: Callable[[Any], None] | None = None
    """What is done to the model before its first forward."""
    checkpoint_prefix: str = ""
    """What stands before the names of its weights in a checkpoint of the whole model, where the
    class is only a part of that.
    """
    released_names: tuple[tuple[str, str], ...] = ()
    """Patterns in the names under which transformers writes weights, and what stands there in
    released checkpoints, where the two differ.
    """
    packages: tuple[str, ...] = ()
    """What its processor imports besides transformers."""
    attention: Literal["causal", "bidirectional_media", "recurrent"] = "causal"
    """How tokens of the language model see each other: each one all before it; tokens of one
    picture also those behind them; or through a state that is carried along, as in state-space
    layers. Only causal tokens can be packed behind a shared prompt.
    """


def completion_positions(positions_RT: Tensor, length: int) -> Tensor:
    """Positions [R, length] of a completion: all rotary axes go on together from the prompt's
    largest position.
    """
    import torch

    start = positions_RT.max() + 1
    steps = torch.arange(length, device=positions_RT.device) + start
    return steps.expand(positions_RT.shape[0], length)


def token_type_ids(model: torch.nn.Module, ids_1T: Tensor) -> Tensor:
    """1 where the token stands for an image, 2 for a video, 0 elsewhere: what newer families call
    `mm_token_type_ids`.
    """
    config: Any = model.config
    types = (ids_1T == config.image_token_id).int()
    return types + 2 * (ids_1T == config.video_token_id).int()


def media_token_ids(model: torch.nn.Module) -> tuple[int, ...]:
    """Ids that stand for media in a prompt; sampling one would break the next forward pass, so they
    are banned.
    """
    config: Any = model.config
    names = ("image_token_id", "video_token_id", "audio_token_id")
    ids = {getattr(config, name, None) for name in names}
    return tuple(sorted(token for token in ids if token is not None))


def _omni_positions(model: Any, ids_1T: Tensor, media: Mapping[str, Tensor]) -> Tensor:
    import torch

    audio_mask = media.get("feature_attention_mask")
    positions, _ = model.get_rope_index(
        ids_1T,
        media.get("image_grid_thw"),
        media.get("video_grid_thw"),
        torch.ones_like(ids_1T),
        False,
        None if audio_mask is None else audio_mask.sum(-1),
        media.get("video_second_per_grid"),
    )
    return positions


def _vision_positions(model: Any, ids_1T: Tensor, media: Mapping[str, Tensor]) -> Tensor:
    import torch

    if "image_grid_thw" not in media and "video_grid_thw" not in media:
        return torch.arange(ids_1T.shape[1], device=ids_1T.device).expand(3, 1, -1)
    positions, _ = model.model.get_rope_index(
        ids_1T,
        token_type_ids(model, ids_1T),
        image_grid_thw=media.get("image_grid_thw"),
        video_grid_thw=media.get("video_grid_thw"),
        attention_mask=torch.ones_like(ids_1T),
    )
    return positions


def _feature_counts(model: Any, media: Mapping[str, Tensor]) -> dict[MediaKind, int]:
    counts: dict[MediaKind, int] = {}
    config = model.config
    if hasattr(config, "vision_config"):
        merged = config.vision_config.spatial_merge_size**2
        for kind in ("image", "video"):
            grid_N3 = media.get(f"{kind}_grid_thw")
            counts[kind] = 0 if grid_N3 is None else int(grid_N3.prod(-1).sum()) // merged
    if hasattr(config, "audio_config"):
        mask = media.get("feature_attention_mask")
        tower = next(m for name, m in model.named_modules() if name.endswith("audio_tower"))
        counts["audio"] = (
            0
            if mask is None
            else int(tower._get_feat_extract_output_lengths(mask.sum(-1))[1].sum())
        )
    return counts


def _plain_positions(model: Any, ids_1T: Tensor, media: Mapping[str, Tensor]) -> Tensor:
    import torch

    return torch.arange(ids_1T.shape[1], device=ids_1T.device).expand(1, 1, -1)


FAMILIES: dict[str, Family] = {
    "qwen2_5_omni": Family(
        model_class="Qwen2_5OmniThinkerForConditionalGeneration",
        processor_class="Qwen2_5OmniProcessor",
        media=frozenset({"image", "video", "audio"}),
        coordinates="pixel",
        positions=_omni_positions,
        feature_counts=_feature_counts,
        video_timing="fps",
        trims_audio=True,
        checkpoint_prefix="thinker.",
    ),
    "qwen2_vl": Family(
        model_class="Qwen2VLForConditionalGeneration",
        processor_class="Qwen2VLProcessor",
        media=frozenset({"image", "video"}),
        coordinates="norm1000",
        positions=grid_positions,
        feature_counts=_feature_counts,
    ),
    "qwen2_5_vl": Family(
        model_class="Qwen2_5_VLForConditionalGeneration",
        processor_class="Qwen2_5_VLProcessor",
        media=frozenset({"image", "video"}),
        coordinates="pixel",
        positions=timed_positions,
        feature_counts=_feature_counts,
    ),
    "qwen3_vl": Family(
        model_class="Qwen3VLForConditionalGeneration",
        processor_class="Qwen3VLProcessor",
        media=frozenset({"image", "video"}),
        coordinates="norm1000",
        positions=_vision_positions,
        feature_counts=_feature_counts,
        video_limits="video",
    ),
    "qwen2_audio": Family(
        model_class="Qwen2AudioForConditionalGeneration",
        processor_class="Qwen2AudioProcessor",
        media=frozenset({"audio"}),
        coordinates="pixel",
        positions=_plain_positions,
        feature_counts=_feature_counts,
        # transformers 5.17 puts the language model one level too deep
        released_names=((r"^language_model\.model\.model\.", "language_model.model."),),
    ),
    "smolvlm": Family(
        model_class="SmolVLMForConditionalGeneration",
        processor_class="SmolVLMProcessor",
        media=frozenset({"image", "video"}),
        coordinates="norm1000",
        positions=_plain_positions,
        feature_counts=count_smolvlm,
        processing=process_smolvlm,
        packages=("num2words",),
    ),
    "llava_onevision": Family(
        model_class="LlavaOnevisionForConditionalGeneration",
        processor_class="LlavaOnevisionProcessor",
        media=frozenset({"image", "video"}),
        coordinates="unit",
        positions=_plain_positions,
        feature_counts=count_llava_onevision,
        processing=process_llava_onevision,
        prepare=take_videos_of_any_length,
        released_names=((r"^vision_tower\.(?!vision_model\.)", "vision_tower.vision_model."),),
    ),
}
