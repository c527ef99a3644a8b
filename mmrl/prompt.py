"""Makes a prompt from a row: decode its media, apply the chat template and the processor, count the
token positions. Once per row and step, however little is remembered; and in worker processes, ahead
of time, where there are any.

A row whose placeholders and features do not match is an error here: in the models a mismatch is
silent for some media (sounds).
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmrl.config.schema import MediaConfig
from mmrl.distributed.ranks import ALONE, Ranks
from mmrl.errors import DataError
from mmrl.media.ahead import Ahead
from mmrl.media.audio import audio_seconds
from mmrl.media.cache import DiskCache, to_stderr
from mmrl.media.pool import Pool
from mmrl.recipe import Maker, Processed, Recipe, check_seconds
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
    from_ahead: int = 0
    """Prompts that a worker had ready when they were asked for."""
    encoders: Callable[[Prompt], Prompt] | None = None
    """Gives a prompt the features of its media, where the encoders are frozen."""
    warn: Callable[[str], None] = to_stderr
    _disk: DiskCache | None = None
    _maker: Maker | None = None
    _ahead: Ahead | None = None
    """What worker processes decode, where there are any."""
    _of_step: dict[tuple[str, str], Prompt] | None = None
    _cache: OrderedDict[tuple[str, str], Prompt] = field(default_factory=OrderedDict)
    _cache_bytes: int = 0

    def __post_init__(self) -> None:
        if self.media.cache_dir is not None:
            self._disk = DiskCache(
                folder=self.media.cache_dir, limit_mb=self.media.disk_cache_mb, warn=self.warn
            )
        if self.media.workers:
            self._ahead = Ahead(pool=Pool(self.media.workers), steps=self.media.ahead)

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
        for given_up in self._ahead.end_step() if self._ahead else ():
            self._count(given_up)
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
        check_row(row, self.policy)
        prompt = of_step[key] = self._prompt_of(row, self._made(row))
        self._remember(key, prompt)
        return prompt

    def look_ahead(self, rows: Iterable[Row]) -> None:
        """Have media of rows that may be asked for next decoded by the workers, if there are any.
        What goes wrong with a row is raised when it is asked for.
        """
        if self._ahead is None:
            return
        known = {*self._cache, *(self._of_step or ())}
        for row in rows:
            if row.media and (row.where, row.id) not in known:
                self._ahead.send(self._recipe(), row)

    def text(self, row: Row) -> str:
        """The row's messages through the chat template, and what the answer begins with."""
        return self._recipe().text(row)

    def build(self, row: Row) -> Prompt:
        """The row's prompt, built anew and not remembered; raises as a call does."""
        check_row(row, self.policy)
        if self._ahead is None or not row.media:
            return self._prompt_of(row, self._made_here(row))
        made = self._ahead.pool.submit(self._recipe(), row).result()
        return self._prompt_of(row, self._count(made))

    def close(self) -> None:
        """End the workers; none decodes from now on."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def _recipe(self) -> Recipe:
        return Recipe(
            family=self.policy.family,
            processor=self.policy.processor,
            media=self.media,
            system=self.system,
            suffix=self.suffix,
            opening=self.opening,
        )

    def _made(self, row: Row) -> Processed:
        if self._ahead is None or not row.media:
            return self._made_here(row)
        made, ready = self._ahead.take(self._recipe(), row)
        self.from_ahead += ready
        return self._count(made)

    def _made_here(self, row: Row) -> Processed:
        recipe = self._recipe()
        if self._maker is None or self._maker.recipe != recipe:
            self._maker = Maker(recipe=recipe, disk=self._disk)
        return self._count(self._maker(row))

    def _count(self, made: Processed) -> Processed:
        for warning in made.warnings:
            self.warn(warning)
        self.decoded += made.decoded
        self.processed += not made.from_disk
        self.from_disk += made.from_disk
        return made

    def _prompt_of(self, row: Row, made: Processed) -> Prompt:
        policy, media = self.policy, dict(made.tensors)
        ids_1T = media.pop("input_ids")
        _check_counts(row, policy, ids_1T, media)
        positions_R1T = policy.family.positions(policy.model, ids_1T, media)
        sizes = {**made.size, **_seen_size(policy, made.size, media)}
        return Prompt(
            row=dataclasses.replace(row, extra={**sizes, **row.extra}),
            ids=tuple(ids_1T[0].tolist()),
            media=media,
            positions_RT=positions_R1T[:, 0],
            media_key=made.media_key,
            opening=self.opening,
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
            check_seconds(row, audio_seconds(medium, row.id), policy.processor)
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


def _placeholders(policy: Policy) -> list[str]:
    """What stands for a medium, in a prompt's tokens or in its text before the processor."""
    processor = policy.processor
    tokens = processor.tokenizer.convert_ids_to_tokens(list(policy.banned_ids))
    names = [getattr(processor, f"{kind}_token", None) for kind in ("image", "video", "audio")]
    return list(dict.fromkeys([*tokens, *filter(None, names)]))


def _check_counts(row: Row, policy: Policy, ids_1T: Tensor, media: Mapping[str, Tensor]) -> None:
    config = policy.model.config
    for kind, features in policy.family.feature_counts(policy.model, media).items():
        tokens = int((ids_1T == getattr(config, f"{kind}_token_id")).sum())
        if tokens != features:
            raise DataError(
                f"row {row.id}: {tokens} {kind} tokens in the prompt for {features} {kind} "
                f"features; the chat template may not know {kind}s"
            )


def _seen_size(
    policy: Policy, size: Mapping[str, int], media: Mapping[str, Tensor]
) -> dict[str, int]:
    """The size in which the only picture was shown: boxes may be in its pixels."""
    grid_N3 = media.get("image_grid_thw")
    if not size or grid_N3 is None:
        return {}
    patch = policy.model.config.vision_config.patch_size
    _, height, width = (int(side) * patch for side in grid_N3[0])
    return {"seen_width": width, "seen_height": height}


def _size(prompt: Prompt) -> int:
    return sum(tensor.nbytes for tensor in prompt.media.values()) + prompt.positions_RT.nbytes
