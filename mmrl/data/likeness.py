"""What a row is like: hashes of its text, answer and media, of how its pictures look, and of every
13 words in a row.

Text is compared without case, punctuation and white space. A picture's look is the sign of each
brightness step on an 8 x 8 grid, across and down (dHash), and its colours on a 4 x 4 grid. Runs of
13 words are what GPT-3 (arXiv 2005.14165) looked for test questions by.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmrl.data.row_format import parse_row
from mmrl.data.writing import row_to_json
from mmrl.errors import DataError
from mmrl.media.encoded import hash_medium, read_encoded, sniff
from mmrl.media.image import open_header
from mmrl.types import Medium, Row

GRAM_WORDS = 13
DISTANCE = 6
"""Of the 128 signs, how many may differ in one picture seen twice."""

COLOUR = 16.0
"""Of 255, how far the colours of the grid may differ on average."""

_WORD = re.compile(r"\w+")
_GRID = 8
_COLOURS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    """Hashes of a row."""

    text: str
    """Of the words of its messages, with the places of media."""
    answer: str
    media: tuple[str, ...]
    """Of the encoded bytes."""
    looks: tuple[bytes | None, ...]
    """16 bytes of signs and 48 of colours for each picture; None for what is no picture."""
    grams: np.ndarray[Any, np.dtype[np.uint64]]
    """Of every run of GRAM_WORDS words, sorted and once each."""


def look_at(item: Mapping[str, Any], *, pictures: bool, grams: bool) -> dict[str, Any]:
    """Return a row with its likeness, as values that can go to another process.

    Args:
        item: `record`, a row's JSON object; `folder`, where its media start; `where`, its place.
        pictures: Look at pictures, too.
        grams: Hash runs of words, too.

    Returns:
        `row`, whose media paths are whole, and `like`; or `error`.
    """
    if "error" in item:
        return {"error": item["error"]}
    try:
        row = parse_row(item["record"], where=item["where"], folder=Path(item["folder"]).absolute())
        media = [(_media_hash(medium, row)) for medium in row.media]
        looks = [_look(medium, row).hex() if pictures else "" for medium in row.media]
    except DataError as error:
        return {"error": str(error)}
    words = _words(row)
    runs = _gram_hashes(words).tobytes().hex() if grams else ""
    like = {
        "text": _hash(" ".join(words)),
        "answer": _hash(json.dumps(row.answer, sort_keys=True, ensure_ascii=False)),
        "media": media,
        "looks": looks,
        "grams": runs,
    }
    return {"row": row_to_json(row, Path("/nowhere")), "like": like}


def likeness(found: Mapping[str, Any]) -> Likeness:
    """Return the hashes that `look_at` sent."""
    return Likeness(
        text=found["text"],
        answer=found["answer"],
        media=tuple(found["media"]),
        looks=tuple(bytes.fromhex(look) or None for look in found["looks"]),
        grams=np.frombuffer(bytes.fromhex(found["grams"]), dtype=np.uint64),
    )


class Looks:
    """Finds the picture that was seen before, though smaller, paler or saved again.

    Two hashes that differ in no more than DISTANCE signs agree in at least one of DISTANCE + 1
    pieces, so only pictures that share a piece are compared.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._pieces: dict[tuple[int, int], list[str]] = {}
        self._looks: dict[str, bytes] = {}

    def first(self, digest: str, look: bytes | None) -> str:
        """Return the digest of the first medium that looks like this one; often its own."""
        if digest in self._known:
            return self._known[digest]
        found = digest if look is None else self._like(look) or digest
        self._known[digest] = found
        if look is not None and found == digest:
            self._looks[digest] = look
            for piece in _pieces(look):
                self._pieces.setdefault(piece, []).append(digest)
        return found

    def _like(self, look: bytes) -> str | None:
        for piece in _pieces(look):
            for other in self._pieces.get(piece, ()):
                if near(look, self._looks[other]):
                    return other
        return None


def near(first: bytes, second: bytes) -> bool:
    """Say whether two looks are those of one picture."""
    signs = int.from_bytes(first[:16], "big") ^ int.from_bytes(second[:16], "big")
    if signs.bit_count() > DISTANCE:
        return False
    colours = [np.frombuffer(look[16:], dtype=np.uint8).astype(int) for look in (first, second)]
    return float(np.abs(colours[0] - colours[1]).mean()) <= COLOUR


def picture_look(image: Any) -> bytes:
    """Return the look of a Pillow picture of mode RGB."""
    from PIL import Image

    grey = image.convert("L")
    wide = np.asarray(grey.resize((_GRID + 1, _GRID), Image.Resampling.BOX), dtype=int)
    tall = np.asarray(grey.resize((_GRID, _GRID + 1), Image.Resampling.BOX), dtype=int)
    signs = np.concatenate([(wide[:, 1:] > wide[:, :-1]).ravel(), (tall[1:] > tall[:-1]).ravel()])
    colours = np.asarray(image.resize((_COLOURS, _COLOURS), Image.Resampling.BOX), dtype=np.uint8)
    return np.packbits(signs).tobytes() + colours.tobytes()


def _pieces(look: bytes) -> list[tuple[int, int]]:
    signs = int.from_bytes(look[:16], "big")
    width = -(-128 // (DISTANCE + 1))
    return [(n, signs >> n * width & (1 << width) - 1) for n in range(DISTANCE + 1)]


def _look(medium: Medium, row: Row) -> bytes:
    """Return the look of a picture, or nothing for what is none or cannot be decoded.

    Only a size that is shown by a JPEG's own smaller scales is decoded: looks need no more.
    """
    if medium.kind != "image":
        return b""
    encoded = read_encoded(medium, row.id)
    found = sniff(encoded[:512])
    if found is None or found.kind != "image":
        raise DataError(f"{row.where}: row {row.id}: a picture of no known format")
    try:
        image = open_header(encoded, found.name)
        image.draft("RGB", (64, 64))
        if image.width * image.height > _LIMIT_PIXELS:
            size = f"{image.width} x {image.height} pixels"
            raise DataError(f"{row.where}: row {row.id}: a picture of {size} is not looked at")
        return picture_look(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{row.where}: row {row.id}: cannot decode a picture: {reason}") from error


_LIMIT_PIXELS = 1 << 26


def _media_hash(medium: Medium, row: Row) -> str:
    try:
        return hash_medium(medium)
    except OSError as error:
        what = f"{medium.kind} {medium.source}: {error.strerror}"
        raise DataError(f"{row.where}: row {row.id}: {what}; restore the file") from error


def _words(row: Row) -> list[str]:
    words: list[str] = []
    for message in row.prompt:
        for part in message["content"]:
            found = _WORD.findall(part["text"].casefold()) if part["type"] == "text" else None
            words += [f"<{part['type']}>"] if found is None else found
    return words


def _gram_hashes(words: list[str]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    plain = [word for word in words if not word.startswith("<")]
    runs = range(len(plain) - GRAM_WORDS + 1)
    hashes = [_short(" ".join(plain[start : start + GRAM_WORDS])) for start in runs]
    return np.unique(np.array(hashes, dtype=np.uint64))


def _short(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
