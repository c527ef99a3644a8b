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

from mmrl.config.schema import MediaConfig
from mmrl.errors import DataError
from mmrl.media.audio import audio_seconds, decode_audio
from mmrl.media.encoded import hash_medium
from mmrl.media.image import decode_image
from mmrl.media.video import decode_video
from mmrl.processing import Decoded, process
from mmrl.types import Prompt, Row

if TYPE_CHECKING:
    from torch import Tensor

    from mmrl.families import Family
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
    placeholders = _placeholders(policy)
    for place, text in [("prompt", text) for text in texts] + [("response", row.response or "")]:
        for token in placeholders:
            if token in text:
                raise DataError(
                    f"row {row.id}: the text of its {place} holds {token!r}, which stands for a "
                    "medium; remove it, media are parts of their own"
                )


def decode(row: Row, policy: Policy, media: MediaConfig) -> Decoded:
    """Decode the row's media for the policy's processor."""
    images, videos, sounds = [], [], []
    for medium in row.media:
        if medium.kind == "image":
            images.append(decode_image(medium, media, row.id))
        elif medium.kind == "video":
            videos.append(decode_video(medium, media, row.id))
        else:
            rate = policy.processor.feature_extractor.sampling_rate
            sounds.append(decode_audio(medium, media, rate, row.id))
            _check_seconds(row, len(sounds[-1]) / rate, policy.processor)
    return Decoded(images=images, videos=videos, sounds=sounds)


def _placeholders(policy: Policy) -> list[str]:
    """What stands for a medium, in a prompt's tokens or in its text before the processor."""
    processor = policy.processor
    tokens = processor.tokenizer.convert_ids_to_tokens(list(policy.banned_ids))
    names = [getattr(processor, f"{kind}_token", None) for kind in ("image", "video", "audio")]
    return list(dict.fromkeys([*tokens, *filter(None, names)]))


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
    if len(decoded.images) != 1:
        return row
    width, height = decoded.images[0].size
    grid_N3 = media.get("image_grid_thw")
    if grid_N3 is None:
        return dataclasses.replace(row, extra={"width": width, "height": height, **row.extra})
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
