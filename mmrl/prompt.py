"""Makes a prompt from a row: decode its media, apply the chat template and the processor, count the
token positions. Once per row.

A row whose placeholders and features do not match is an error here: in the models a mismatch is
silent for some media (sounds).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from mmrl.config.schema import MediaConfig
from mmrl.errors import DataError
from mmrl.media.audio import audio_seconds, decode_audio
from mmrl.media.encoded import hash_medium
from mmrl.media.image import decode_image
from mmrl.media.video import decode_video
from mmrl.types import Prompt, Row

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from torch import Tensor

    from mmrl.families import Family
    from mmrl.media.video import Video
    from mmrl.model import Policy


@dataclass(kw_only=True, slots=True)
class Prompts:
    """Builds prompts and remembers the last ones, up to `media.cache_mb` of media tensors."""

    policy: Policy
    media: MediaConfig
    system: str | None = None
    decoded: int = 0
    """Media decoded so far."""
    processed: int = 0
    """Prompts that went through the processor so far."""
    _cache: OrderedDict[tuple[str, str], Prompt] = field(default_factory=OrderedDict)
    _cache_bytes: int = 0

    def __call__(self, row: Row) -> Prompt:
        """Return the row's prompt, built now or remembered.

        Raises:
            DataError: as `check_row`; or a medium cannot be decoded, or tokens and features differ
            in number.
        """
        key = (row.where, row.id)
        if key in self._cache:
            self._cache.move_to_end(key)
            kept = self._cache[key]
            # The tensors are remembered; how the row is judged may differ from stage to stage.
            fresh = dataclasses.replace(row, extra={**kept.row.extra, **row.extra})
            return dataclasses.replace(kept, row=fresh)
        prompt = self._build(row)
        self._remember(key, prompt)
        return prompt

    def _build(self, row: Row) -> Prompt:
        policy = self.policy
        check_row(row, policy)
        decoded = decode(row, policy, self.media)
        encoded = process(row, decoded, policy, self.media, system=self.system)
        self.decoded += len(row.media)
        self.processed += 1
        ids_1T = encoded.pop("input_ids")
        _check_counts(row, policy, ids_1T, encoded)
        device_media = {key: value.to(policy.device) for key, value in encoded.items()}
        positions_R1T = policy.family.positions(
            policy.model, ids_1T.to(policy.device), device_media
        )
        return Prompt(
            row=_with_sizes(row, policy, decoded, encoded),
            ids=tuple(ids_1T[0].tolist()),
            media=encoded,
            positions_RT=positions_R1T[:, 0].cpu(),
            media_key=_media_key(row, self.media),
        )

    def _remember(self, key: tuple[str, str], prompt: Prompt) -> None:
        self._cache[key] = prompt
        self._cache_bytes += _size(prompt)
        while self._cache_bytes > self.media.cache_mb * 1e6 and self._cache:
            _, oldest = self._cache.popitem(last=False)
            self._cache_bytes -= _size(oldest)


def check_kinds(row: Row, family: Family) -> None:
    """Raise DataError where the row shows a medium that the model's family does not take."""
    for medium in row.media:
        if medium.kind not in family.media:
            kinds = ", ".join(sorted(family.media))
            raise DataError(
                f"row {row.id}: the prompt has a {medium.kind}, the model takes only {kinds}"
            )


def check_row(row: Row, policy: Policy) -> None:
    """Refuse, without decoding anything, a row that the policy cannot be asked.

    Raises:
        DataError: as `check_kinds`; or a sound is longer than the model hears, or a text holds a
        token that stands for a medium.
    """
    check_kinds(row, policy.family)
    for medium in row.media:
        if medium.kind == "audio":
            _check_seconds(row, audio_seconds(medium, row.id), policy.processor)
    texts = [
        part["text"]
        for message in row.prompt
        for part in message["content"]
        if part["type"] == "text"
    ]
    placeholders = policy.processor.tokenizer.convert_ids_to_tokens(list(policy.banned_ids))
    for place, text in [("prompt", text) for text in texts] + [("response", row.response or "")]:
        for token in placeholders:
            if token in text:
                raise DataError(
                    f"row {row.id}: the text of its {place} holds {token!r}, which stands for a "
                    "medium; remove it, media are parts of their own"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """A row's media, each kind in the order of the prompt."""

    images: list[Image]
    videos: list[Video]
    sounds: list[np.ndarray]
    """Samples at the rate of the processor."""


def decode(row: Row, policy: Policy, media: MediaConfig) -> Decoded:
    """Decode the row's media for the policy's processor."""
    decoded = Decoded(images=[], videos=[], sounds=[])
    for medium in row.media:
        if medium.kind == "image":
            decoded.images.append(decode_image(medium, media, row.id))
        elif medium.kind == "video":
            decoded.videos.append(decode_video(medium, media, row.id))
        else:
            rate = policy.processor.feature_extractor.sampling_rate
            decoded.sounds.append(decode_audio(medium, media, rate, row.id))
            _check_seconds(row, len(decoded.sounds[-1]) / rate, policy.processor)
    return decoded


def process(
    row: Row, decoded: Decoded, policy: Policy, media: MediaConfig, *, system: str | None = None
) -> dict[str, Tensor]:
    """Run chat template and processor on a row: `input_ids` [1, T] and the tensors of the model's
    forward.
    """
    processor = policy.processor
    images, videos, sounds = decoded.images, decoded.videos, decoded.sounds
    arguments: dict[str, Any] = {
        "text": [chat_text(row, processor, system=system)],
        "return_tensors": "pt",
    }
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
    try:
        encoded = dict(processor(**arguments))
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"row {row.id}: the processor refuses its media: {reason}") from error
    if videos and policy.family.video_timing == "fps":
        # The processor takes one rate for all videos of a prompt; each has its own.
        patch = processor.video_processor.temporal_patch_size
        encoded["video_second_per_grid"] = torch.tensor([patch / video.fps for video in videos])
    if "feature_attention_mask" in encoded and policy.family.trims_audio:
        longest = int(encoded["feature_attention_mask"].sum(-1).max())
        for key in ("input_features", "feature_attention_mask"):
            encoded[key] = encoded[key][..., :longest]
    return {
        key: torch.as_tensor(value) for key, value in encoded.items() if key not in _NOT_FOR_FORWARD
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
    return processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


_NOT_FOR_FORWARD = ("attention_mask", "mm_token_type_ids", "video_metadata")


def _video_kwargs(videos: list[Video], policy: Policy, media: MediaConfig) -> dict[str, Any]:
    kwargs: dict[str, Any] = {
        "do_sample_frames": False,
        "size": {"shortest_edge": media.video_min_pixels, "longest_edge": media.video_max_pixels},
    }
    if policy.family.video_timing == "fps":
        return kwargs | {"fps": videos[0].fps}
    from transformers.video_utils import VideoMetadata

    kwargs["video_metadata"] = [
        VideoMetadata(
            total_num_frames=round(video.duration_s * video.source_fps),
            fps=video.source_fps,
            duration=video.duration_s,
            frames_indices=list(video.indices),
        )
        for video in videos
    ]
    return kwargs


def _check_seconds(row: Row, seconds: float, processor: Any) -> None:
    extractor = processor.feature_extractor
    if round(seconds * extractor.sampling_rate) > extractor.n_samples:
        raise DataError(
            f"row {row.id}: a sound of {seconds:.2f} s; the model hears at most "
            f"{extractor.chunk_length} s and would be given a cut one; "
            "shorten it or remove the row"
        )


def _check_counts(row: Row, policy: Policy, ids_1T: Tensor, media: Mapping[str, Tensor]) -> None:
    config = policy.model.config
    for kind, features in policy.family.feature_counts(policy.model, media).items():
        tokens = int((ids_1T == getattr(config, f"{kind}_token_id")).sum())
        if tokens != features:
            raise DataError(
                f"row {row.id}: {tokens} {kind} tokens in the prompt for {features} {kind} "
                f"features; the chat template may not know {kind}s"
            )


def _with_sizes(row: Row, policy: Policy, decoded: Decoded, media: Mapping[str, Tensor]) -> Row:
    """Note the size of the only picture, and the one it was shown in: boxes may be in pixels."""
    grid_N3 = media.get("image_grid_thw")
    if len(decoded.images) != 1 or grid_N3 is None:
        return row
    width, height = decoded.images[0].size
    patch = policy.model.config.vision_config.patch_size
    _, seen_height, seen_width = (int(side) * patch for side in grid_N3[0])
    sizes = {"width": width, "height": height, "seen_width": seen_width, "seen_height": seen_height}
    return dataclasses.replace(row, extra={**sizes, **row.extra})


def _media_key(row: Row, media: MediaConfig) -> str:
    digest = hashlib.blake2b(media.model_dump_json().encode(), digest_size=16)
    for medium in row.media:
        digest.update(hash_medium(medium).encode())
    return digest.hexdigest()


def _size(prompt: Prompt) -> int:
    return sum(tensor.nbytes for tensor in prompt.media.values()) + prompt.positions_RT.nbytes
