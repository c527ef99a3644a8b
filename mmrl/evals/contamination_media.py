"""Which pictures, videos and sounds of a benchmark also stand in training data.

The same bytes are found by their hash. A picture that was resized, saved again or made paler is
found by its look: its brightness on a 32 x 32 grid, compared by correlation, and its colours on a
4 x 4 grid. Videos and sounds are compared by their bytes alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmrl.data.likeness import COLOUR, picture_look
from mmrl.errors import DataError
from mmrl.media.encoded import hash_medium
from mmrl.types import Medium

SIDE = 32
CORRELATION = 0.97
"""Saving again and resizing keep it above 0.99; other pictures of one kind stay below 0.95."""
FLAT = 2.0
"""Of 255; pictures that vary less are compared by their colours alone."""

_DECODED_SIDE = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How a picture looks."""

    brightness: np.ndarray[Any, np.dtype[np.float32]]
    """[SIDE * SIDE], of mean 0 and length 1; all 0 for a flat picture."""
    colours: np.ndarray[Any, np.dtype[np.int16]]


@dataclass(kw_only=True, slots=True)
class MediaIndex:
    """The media of a benchmark's items."""

    owners: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Task and id of the items that show a medium, by its hash."""
    _sizes: set[int] = field(default_factory=set)
    _digests: list[str] = field(default_factory=list)
    _looks: list[Look] = field(default_factory=list)
    _grid: np.ndarray[Any, np.dtype[np.float32]] | None = None
    _found: dict[Path, dict[str, str]] = field(default_factory=dict)

    def add(self, medium: Medium, owner: tuple[str, str]) -> None:
        """Note a medium of an item.

        Raises:
            DataError: it is not there, or a picture that cannot be decoded.
        """
        digest, size = _hash(medium, owner[1])
        known = self.owners.setdefault(digest, [])
        if not known:
            self._sizes.add(size)
            if medium.kind == "image":
                self._digests.append(digest)
                self._looks.append(look_of(medium, owner[1]))
                self._grid = None
        known.append(owner)

    def find(self, medium: Medium, row_id: str) -> dict[str, str]:
        """Return the hashes of the media that a medium of training data repeats, with how: `medium`
        for the same bytes, `look` for a picture that looks the same.

        Raises:
            DataError: it is not there, or a picture that cannot be decoded.
        """
        source = medium.source
        if isinstance(source, Path) and source in self._found:
            return self._found[source]
        found: dict[str, str] = {}
        if _size(medium, row_id) in self._sizes:
            digest, _ = _hash(medium, row_id)
            if digest in self.owners:
                found[digest] = "medium"
        if medium.kind == "image" and self._looks:
            for digest in self._alike(look_of(medium, row_id)):
                found.setdefault(digest, "look")
        if isinstance(source, Path):
            self._found[source] = found
        return found

    def _alike(self, look: Look) -> Iterator[str]:
        if self._grid is None:
            self._grid = np.stack([known.brightness for known in self._looks])
        near = self._grid @ look.brightness
        flat = not look.brightness.any()
        for place in np.flatnonzero(near >= CORRELATION if not flat else ~self._grid.any(axis=1)):
            gap = np.abs(self._looks[place].colours - look.colours).mean()
            if gap <= (FLAT if flat else COLOUR):
                yield self._digests[place]


def look_of(medium: Medium, row_id: str) -> Look:
    """Return the look of a picture.

    Raises:
        DataError: it cannot be decoded.
    """
    from PIL import Image

    from mmrl.config.schema import MediaConfig
    from mmrl.media.image import decode_image

    image = decode_image(medium, MediaConfig(), row_id, longer_side=_DECODED_SIDE)
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.float32).ravel()
    grey = grey - grey.mean() if grey.std() > FLAT else np.zeros_like(grey)
    colours = np.frombuffer(picture_look(image)[16:], dtype=np.uint8).astype(np.int16)
    return Look(brightness=grey / max(float(np.linalg.norm(grey)), 1.0), colours=colours)


def _hash(medium: Medium, row_id: str) -> tuple[str, int]:
    size = _size(medium, row_id)
    return hash_medium(medium), size


def _size(medium: Medium, row_id: str) -> int:
    if isinstance(medium.source, bytes):
        return len(medium.source)
    try:
        return medium.source.stat().st_size
    except OSError as error:
        raise DataError(
            f"row {row_id}: {medium.kind} {medium.source}: {error.strerror}; restore the file, or "
            "compare texts alone, media=false"
        ) from error
