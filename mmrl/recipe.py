"""What makes the tensors of a row's prompt, short of the model: media are decoded, the chat
template and the processor run; or what they gave before is found on disk. A worker process can do
all of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from mmrl.config.schema import NOT_SHAPING, MediaConfig
from mmrl.errors import DataError
from mmrl.media.audio import decode_audio
from mmrl.media.cache import DiskCache
from mmrl.media.encoded import check_encoded, hash_medium, medium_error
from mmrl.media.image import decode_image
from mmrl.media.video import decode_video
from mmrl.processing import Decoded, HasProcessor, add_text, chat_text, process
from mmrl.types import Medium, Row

if TYPE_CHECKING:
    from torch import Tensor

    from mmrl.families import Family

Tell = Callable[["Medium | None"], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All that shapes the tensors of a prompt, besides its row."""

    family: Family
    processor: Any
    media: MediaConfig
    system: str | None = None
    suffix: str = ""
    """What is added to every question."""
    opening: str = ""
    """What every answer begins with."""

    def text(self, row: Row) -> str:
        """The row's messages through the chat template, and what the answer begins with."""
        shown = dataclasses.replace(row, prompt=add_text(row.prompt, self.suffix))
        return chat_text(shown, self.processor, system=self.system) + self.opening


@dataclass(frozen=True, kw_only=True, slots=True)
class Processed:
    """What the processor gave for a row."""

    tensors: Mapping[str, Tensor]
    """`input_ids` [1, T] and those of the model's forward."""
    size: Mapping[str, int]
    """`width` and `height` of the only picture; empty where there is not just one."""
    media_key: str
    """Hash of the encoded media and of every setting that shapes the tensors."""
    decoded: int
    """Media that were decoded for it: none where it was found on disk."""
    from_disk: bool
    warnings: tuple[str, ...] = ()
    """Of the cache on disk."""


@dataclass(kw_only=True, slots=True)
class Maker:
    """Makes rows by a recipe, and keeps what comes of it on disk where there is a cache."""

    recipe: Recipe
    disk: DiskCache | None = None
    _fingerprint: str = ""

    def __call__(self, row: Row, tell: Tell = lambda _: None) -> Processed:
        """Make a row's tensors; `tell` hears which medium is looked at next, and None when all were
        decoded.

        Raises:
            DataError: a medium cannot be decoded, or the processor refuses it.
        """
        recipe, key = self.recipe, ""
        media_key = _media_key(row, recipe.media, tell)
        text = recipe.text(row)
        if self.disk is not None:
            self._fingerprint = self._fingerprint or processor_fingerprint(recipe)
            key = _digest(self._fingerprint, media_key, text)
            if (entry := self.disk.get(key)) is not None:
                return Processed(
                    tensors=entry.tensors,
                    size=entry.notes,
                    media_key=media_key,
                    decoded=0,
                    from_disk=True,
                )
        decoded = decode(row, recipe, recipe.media, tell)
        tell(None)
        tensors = process(row, decoded, recipe, recipe.media, text=text)
        size = _size_of_picture(decoded)
        if self.disk is not None:
            self.disk.put(key, tensors, size)
        return Processed(
            tensors=tensors,
            size=size,
            media_key=media_key,
            decoded=len(row.media),
            from_disk=False,
        )


def decode(
    row: Row, policy: HasProcessor, media: MediaConfig, tell: Tell = lambda _: None
) -> Decoded:
    """Decode the row's media for the policy's processor; `tell` hears which comes next."""
    images, videos, sounds = [], [], []
    for medium in row.media:
        tell(medium)
        if medium.kind == "image":
            images.append(decode_image(medium, media, row.id))
        elif medium.kind == "video":
            videos.append(decode_video(medium, media, row.id))
        else:
            rate = policy.processor.feature_extractor.sampling_rate
            sounds.append(decode_audio(medium, media, rate, row.id))
            check_seconds(row, len(sounds[-1]) / rate, policy.processor)
    return Decoded(images=images, videos=videos, sounds=sounds)


def check_seconds(row: Row, seconds: float, processor: Any) -> None:
    """Refuse a sound that is longer than the model hears.

    Raises:
        DataError: it is.
    """
    extractor = processor.feature_extractor
    if round(seconds * extractor.sampling_rate) > extractor.n_samples:
        raise DataError(
            f"row {row.id}: a sound of {seconds:.2f} s; the model hears at most "
            f"{extractor.chunk_length} s and would be given a cut one; "
            "shorten it or remove the row"
        )


def _size_of_picture(decoded: Decoded) -> dict[str, int]:
    if len(decoded.images) != 1:
        return {}
    width, height = decoded.images[0].size
    return {"width": width, "height": height}


def _media_key(row: Row, media: MediaConfig, tell: Tell) -> str:
    settings = media.model_dump_json(exclude=NOT_SHAPING)
    hashes = []
    for medium in row.media:
        tell(medium)
        check_encoded(medium, media, row.id)
        try:
            hashes.append(hash_medium(medium))
        except OSError as error:
            raise medium_error(medium, row.id, error.strerror or str(error)) from error
    return _digest(settings, *hashes)


def processor_fingerprint(policy: HasProcessor) -> str:
    """What shapes a prompt's tensors besides the row and `media`: family, processor, tokenizer, and
    the versions of what decodes and processes. Seconds for a large vocabulary.
    """
    tokenizer = policy.processor.tokenizer
    return _digest(
        _CONTENT,
        policy.family.model_class,
        policy.processor.to_json_string(),
        tokenizer.backend_tokenizer.to_str(),
        *(f"{name} {_version(name)}" for name in _SHAPING),
    )


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"


_CONTENT = "1"
"""To be counted up with every change of decoding or processing that a version does not show."""
_SHAPING = (
    "mmrl-toolkit",
    "transformers",
    "torchvision",
    "pillow",
    "decord",
    "av",
    "soundfile",
    "soxr",
)


def _digest(*parts: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(hashlib.blake2b(part.encode(), digest_size=16).digest())
    return digest.hexdigest()
