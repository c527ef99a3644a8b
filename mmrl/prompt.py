"""Makes a prompt from a row: decode its media, apply the chat template and the processor, count the
token positions. Once per row and step, however little is remembered.

A row whose placeholders and features do not match is an error here: in the models a mismatch is
silent for some media (sounds).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from mmrl.config.schema import MediaConfig
from mmrl.distributed.ranks import ALONE, Ranks
from mmrl.errors import DataError
from mmrl.media.audio import audio_seconds, decode_audio
from mmrl.media.cache import DiskCache, to_stderr
from mmrl.media.encoded import check_encoded, hash_medium, medium_error
from mmrl.media.image import decode_image
from mmrl.media.video import decode_video
from mmrl.processing import Decoded, add_text, chat_text, process
from mmrl.types import Prompt, Row

if TYPE_CHECKING:
    from torch import Tensor

    from mmrl.families import Family
    from mmrl.model import Policy


@dataclass(kw_only=True, slots=True)
class Prompts:
    """Builds prompts and remembers the last ones, up to `media.cache_mb` of media tensors; what the
    processor gave is also kept in `media.cache_dir`, for other runs and processes.
    """

    policy: Policy
    media: MediaConfig
    system: str | None = None
    suffix: str = ""
    """What is added to every question."""
    opening: str = ""
    """What every answer begins with."""
    decoded: int = 0
    """Media decoded so far."""
    processed: int = 0
    """Prompts that went through the processor so far."""
    from_memory: int = 0
    """Prompts that were remembered so far."""
    from_disk: int = 0
    """Prompts whose processor output was on disk so far."""
    encoders: Callable[[Prompt], Prompt] | None = None
    """Gives a prompt the features of its media, where the encoders are frozen."""
    warn: Callable[[str], None] = to_stderr
    _disk: DiskCache | None = None
    _fingerprint: tuple[Any, str] | None = None
    """Of the processor that it stands beside."""
    _of_step: dict[tuple[str, str], Prompt] | None = None
    _cache: OrderedDict[tuple[str, str], Prompt] = field(default_factory=OrderedDict)
    _cache_bytes: int = 0

    def __post_init__(self) -> None:
        if self.media.cache_dir is not None:
            self._disk = DiskCache(
                folder=self.media.cache_dir, limit_mb=self.media.disk_cache_mb, warn=self.warn
            )

    def begin_step(self) -> None:
        """Hold every prompt until the step ends, so that none is built twice in it."""
        self._of_step = {}

    def end_step(self, ranks: Ranks = ALONE) -> dict[str, float]:
        """Let go of the step's prompts, and return how many it needed, in all processes.

        Each is decoded and processed once, in this step or before; how many were remembered depends
        on what the process has seen, so it is no metric (`from_memory`, `from_disk`).
        """
        own = [[*key, len(prompt.row.media)] for key, prompt in (self._of_step or {}).items()]
        self._of_step = None
        found = ranks.gather(own, "metrics: counting media")
        counts = {(where, row): media for part in found for where, row, media in part}.values()
        return {
            "media/decoded": float(sum(counts)),
            "media/processed": float(len(counts)),
            "media/encoded": float(sum(map(bool, counts))),
        }

    def makes_what(self, other: Prompts) -> bool:
        """Whether both make the same prompts of the same rows."""
        mine, others = (
            (p.media, p.system, p.suffix, p.opening, p.policy.family) for p in (self, other)
        )
        return mine == others

    def __call__(self, row: Row) -> Prompt:
        """Return the row's prompt, built now or remembered.

        Raises:
            DataError: as `check_row`; or a medium cannot be decoded, or tokens and features differ
            in number.
        """
        prompt = self._prompt(row)
        return self.encoders(prompt) if self.encoders else prompt

    def _prompt(self, row: Row) -> Prompt:
        key = (row.where, row.id)
        of_step = {} if self._of_step is None else self._of_step
        kept = of_step.get(key) or self._cache.get(key)
        if kept is not None:
            of_step[key] = kept
            self.from_memory += 1
            if key in self._cache:
                self._cache.move_to_end(key)
            # The tensors are remembered; how the row is judged may differ from stage to stage.
            fresh = dataclasses.replace(row, extra={**kept.row.extra, **row.extra})
            return dataclasses.replace(kept, row=fresh)
        prompt = of_step[key] = self.build(row)
        self._remember(key, prompt)
        return prompt

    def text(self, row: Row) -> str:
        """The row's messages through the chat template, and what the answer begins with."""
        shown = dataclasses.replace(row, prompt=add_text(row.prompt, self.suffix))
        return chat_text(shown, self.policy.processor, system=self.system) + self.opening

    def build(self, row: Row) -> Prompt:
        """The row's prompt, built anew and not remembered; raises as a call does."""
        policy = self.policy
        check_row(row, policy)
        media_key = _media_key(row, self.media)
        encoded, sizes = self._processed(row, media_key)
        ids_1T = encoded.pop("input_ids")
        _check_counts(row, policy, ids_1T, encoded)
        positions_R1T = policy.family.positions(policy.model, ids_1T, encoded)
        return Prompt(
            row=dataclasses.replace(row, extra={**sizes, **row.extra}),
            ids=tuple(ids_1T[0].tolist()),
            media=encoded,
            positions_RT=positions_R1T[:, 0],
            media_key=media_key,
            opening=self.opening,
        )

    def _processed(self, row: Row, media_key: str) -> tuple[dict[str, Tensor], Mapping[str, int]]:
        """What the processor gives for a row, and the sizes of its only picture."""
        policy, disk_key, text = self.policy, "", self.text(row)
        if self._disk is not None:
            if self._fingerprint is None or self._fingerprint[0] is not policy.processor:
                self._fingerprint = policy.processor, processor_fingerprint(policy)
            disk_key = _digest(self._fingerprint[1], media_key, text)
            entry = self._disk.get(disk_key)
            if entry is not None:
                self.from_disk += 1
                return dict(entry.tensors), entry.notes
        decoded = decode(row, policy, self.media)
        encoded = process(row, decoded, policy, self.media, text=text)
        self.decoded += len(row.media)
        self.processed += 1
        sizes = _sizes(policy, decoded, encoded)
        if self._disk is not None:
            self._disk.put(disk_key, encoded, sizes)
        return encoded, sizes

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


def _sizes(policy: Policy, decoded: Decoded, media: Mapping[str, Tensor]) -> dict[str, int]:
    """The size of the only picture, and the one it was shown in: boxes may be in pixels."""
    if len(decoded.images) != 1:
        return {}
    width, height = decoded.images[0].size
    grid_N3 = media.get("image_grid_thw")
    if grid_N3 is None:
        return {"width": width, "height": height}
    patch = policy.model.config.vision_config.patch_size
    _, seen_height, seen_width = (int(side) * patch for side in grid_N3[0])
    return {"width": width, "height": height, "seen_width": seen_width, "seen_height": seen_height}


def _media_key(row: Row, media: MediaConfig) -> str:
    settings = media.model_dump_json(exclude={"cache_mb", "cache_dir", "disk_cache_mb"})
    hashes = []
    for medium in row.media:
        check_encoded(medium, media, row.id)
        try:
            hashes.append(hash_medium(medium))
        except OSError as error:
            raise medium_error(medium, row.id, error.strerror or str(error)) from error
    return _digest(settings, *hashes)


def processor_fingerprint(policy: Policy) -> str:
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


def _size(prompt: Prompt) -> int:
    return sum(tensor.nbytes for tensor in prompt.media.values()) + prompt.positions_RT.nbytes
