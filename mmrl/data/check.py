"""Decode every medium once before training, so that no run starts on one that it would stumble
over.

What was found whole is remembered in a cache, by path, size, time of change and the settings of
decoding.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from mmrl.errors import DataError
from mmrl.media.audio import decode_audio
from mmrl.media.encoded import hash_medium
from mmrl.media.image import decode_image
from mmrl.media.video import decode_video
from mmrl.types import Medium, Row

if TYPE_CHECKING:
    from mmrl.config.schema import MediaConfig

MAX_REPORTED = 20
_SAMPLING_RATE = 16_000
_AHEAD = 64
"""Media in the pool at a time: bounds what is done after the last error that is shown."""


def first_bad(
    rows: Sequence[Row],
    config: MediaConfig,
    *,
    cache: Path | None = None,
    on_medium: Callable[[int], None] | None = None,
) -> list[str]:
    """Return a line for each of the first MAX_REPORTED media that cannot be used; empty when all
    can.

    Args:
        rows: Media that several rows share are decoded once.
        config: Limits and decoder.
        cache: A file that remembers whole media from one call to the next.
        on_medium: Called with 1 after every medium.
    """
    lines: list[str] = []
    for error in bad_media(rows, config, cache=cache, on_medium=on_medium):
        lines.append(str(error))
        if len(lines) == MAX_REPORTED:
            break
    return lines


def bad_media(
    rows: Sequence[Row],
    config: MediaConfig,
    *,
    cache: Path | None = None,
    on_medium: Callable[[int], None] | None = None,
) -> Iterator[DataError]:
    """Decode every medium and give an error for each that cannot be used, in the order of the rows.

    Args: as `first_bad`.
    """
    settings = hashlib.blake2b(config.model_dump_json().encode(), digest_size=8).hexdigest()
    known = _read_cache(cache, settings)
    media = _distinct(rows)
    whole: set[str] = set()

    def check(item: tuple[Medium, str]) -> DataError | None:
        key = _key(item[0])
        error = None if key in known else check_medium(item[0], config, item[1])
        if error is None and key is not None:
            whole.add(key)
        return error

    try:
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            for start in range(0, len(media), _AHEAD):
                for error in pool.map(check, media[start : start + _AHEAD]):
                    if on_medium:
                        on_medium(1)
                    if error is not None:
                        yield error
    finally:
        _write_cache(cache, settings, known | whole)


def check_medium(medium: Medium, config: MediaConfig, row_id: str) -> DataError | None:
    """Decode one medium as training does; return what is wrong with it, or None."""
    try:
        if medium.kind == "image":
            decode_image(medium, config, row_id)
        elif medium.kind == "video":
            decode_video(medium, config, row_id)
        else:
            decode_audio(medium, config, _SAMPLING_RATE, row_id)
    except DataError as error:
        return error
    return None


def _distinct(rows: Sequence[Row]) -> list[tuple[Medium, str]]:
    """Return each medium with the id of the first row that has it."""
    found: dict[tuple[str, Path | bytes], tuple[Medium, str]] = {}
    for row in rows:
        for medium in row.media:
            found.setdefault((medium.kind, medium.source), (medium, row.id))
    return list(found.values())


def _key(medium: Medium) -> str | None:
    """Name a medium's present content without reading a file; None where there is none."""
    if isinstance(medium.source, bytes):
        return f"{medium.kind}:{hash_medium(medium)}"
    try:
        stat = medium.source.stat()
    except (OSError, ValueError):
        return None
    return f"{medium.kind}:{medium.source.absolute()}:{stat.st_size}:{stat.st_mtime_ns}"


def _read_cache(path: Path | None, settings: str) -> set[str]:
    """Return the media that were whole under these settings. A damaged cache is no cache."""
    if path is None or not path.is_file():
        return set()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return set(found["whole"]) if found["settings"] == settings else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _write_cache(path: Path | None, settings: str, whole: set[str]) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps({"settings": settings, "whole": sorted(whole)}, indent=0)
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
