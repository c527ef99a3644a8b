"""Runs chat template and processor on a row's decoded media: token ids, and the tensors of the
model's forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from mmrl.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from torch import Tensor

    from mmrl.config.schema import MediaConfig
    from mmrl.families import Family
    from mmrl.media.video import Video
    from mmrl.types import Row


class HasProcessor(Protocol):
    """A policy, or as much of one as can make a prompt's tensors."""

    @property
    def family(self) -> Family:
        """Of the model."""
        ...

    @property
    def processor(self) -> Any:
        """Of transformers, with its tokenizer and chat template."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """A row's media, each kind in the order of the prompt."""

    images: Sequence[Image]
    videos: Sequence[Video]
    sounds: Sequence[np.ndarray]
    """Samples at the rate of the processor."""


def process(
    row: Row, decoded: Decoded, policy: HasProcessor, media: MediaConfig, *, text: str | None = None
) -> dict[str, Tensor]:
    """Run the processor on a row: `input_ids` [1, T] and the tensors of the model's forward. `text`
    is what the chat template makes of it, unless given.

    Raises:
        DataError: the processor refuses the row's text or media.
    """
    text = chat_text(row, policy.processor) if text is None else text
    run = policy.family.processing or _in_one_call
    try:
        encoded = run(policy, text, decoded, media)
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"row {row.id}: the processor refuses its media: {reason}") from error
    # a part of a larger tensor would hold all of it in memory
    return {
        key: torch.as_tensor(value).contiguous()
        for key, value in encoded.items()
        if key not in _NOT_FOR_FORWARD
    }


def chat_text(row: Row, processor: Any, *, system: str | None = None) -> str:
    """The row's messages through the chat template, up to where the assistant begins to speak."""
    messages = [{"role": "system", "content": [{"type": "text", "text": system}]}] if system else []
    for message in row.prompt:
        # Templates ask either for the part's type or for a key of that name.
        parts = [
            dict(part)
            if part["type"] == "text"
            else {"type": part["type"], part["type"]: part["type"]}
            for part in message["content"]
        ]
        messages.append({"role": message["role"], "content": parts})
    return processor.apply_chat_template(
        messages,
        tokenize=False,
        add_generation_prompt=True,
        # Nothing is processed here; but where it is given none, SmolVLM's warns at every prompt.
        processor_kwargs={"padding": False},
    )


def add_text(messages: Sequence[Mapping[str, Any]], text: str) -> list[Mapping[str, Any]]:
    """The messages with a text behind the last of the user's."""
    if not text:
        return list(messages)
    last = max(place for place, message in enumerate(messages) if message["role"] == "user")
    parts = list(messages[last]["content"])
    if parts[-1]["type"] == "text":
        parts[-1] = {**parts[-1], "text": parts[-1]["text"] + text}
    else:
        parts.append({"type": "text", "text": text})
    return [*messages[:last], {**messages[last], "content": parts}, *messages[last + 1 :]]


def video_metadata(video: Video) -> Any:
    """What transformers is told of where a video's sampled frames stand in time."""
    from transformers.video_utils import VideoMetadata

    return VideoMetadata(
        total_num_frames=round(video.duration_s * video.source_fps),
        fps=video.source_fps,
        duration=video.duration_s,
        frames_indices=list(video.indices),
    )


_NOT_FOR_FORWARD = ("attention_mask", "mm_token_type_ids", "video_metadata")


def _in_one_call(
    policy: HasProcessor, text: str, decoded: Decoded, media: MediaConfig
) -> Mapping[str, Any]:
    processor = policy.processor
    images, videos, sounds = decoded.images, decoded.videos, decoded.sounds
    arguments: dict[str, Any] = {"text": [text], "return_tensors": "pt"}
    if images:
        size = {"shortest_edge": media.image_min_pixels, "longest_edge": media.image_max_pixels}
        arguments |= {"images": images, "images_kwargs": {"size": size}}
    if videos:
        arguments |= {
            "videos": [video.frames_THWC for video in videos],
            "videos_kwargs": _video_kwargs(videos, policy, media),
        }
    if sounds:
        arguments |= {
            "audio": sounds,
            "audio_kwargs": {"sampling_rate": processor.feature_extractor.sampling_rate},
        }
    encoded = dict(processor(**arguments))
    if videos and policy.family.video_timing == "fps":
        # The processor takes one rate for all videos of a prompt; each has its own.
        patch = processor.video_processor.temporal_patch_size
        encoded["video_second_per_grid"] = torch.tensor([patch / video.fps for video in videos])
    if "feature_attention_mask" in encoded and policy.family.trims_audio:
        longest = int(encoded["feature_attention_mask"].sum(-1).max())
        for key in ("input_features", "feature_attention_mask"):
            encoded[key] = encoded[key][..., :longest]
    return encoded


def _video_kwargs(
    videos: Sequence[Video], policy: HasProcessor, media: MediaConfig
) -> dict[str, Any]:
    # one size goes for all videos of a prompt; a shorter one may then have larger frames
    frames = 1
    if policy.family.video_limits == "video":
        frames = max(len(video.frames_THWC) for video in videos)
    kwargs: dict[str, Any] = {
        "do_sample_frames": False,
        "size": {
            "shortest_edge": media.video_min_pixels * frames,
            "longest_edge": media.video_max_pixels * frames,
        },
    }
    if policy.family.video_timing == "fps":
        return kwargs | {"fps": videos[0].fps}
    return kwargs | {"video_metadata": [video_metadata(video) for video in videos]}
