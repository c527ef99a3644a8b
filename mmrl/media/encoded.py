"""The encoded bytes of a medium before any decoder sees them: what they are, how many, their hash.

A decoder is only given bytes whose first bytes say that they are of its kind. So a playlist or a
script that FFmpeg or Pillow would follow to other files or to the network is refused, and an error
can say what a file is instead.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mmrl.errors import DataError

if TYPE_CHECKING:
    from mmrl.config.schema import MediaConfig
    from mmrl.types import Medium

_HEAD_BYTES = 512
_REPLACE = "replace the file or remove the row"


class Format(NamedTuple):
    """What a file's first bytes say it is."""

    kind: str
    """`image`, `video`, `audio`, `ogg` (sound or video) or `none` (known, and no medium)."""
    name: str
    title: str
    """For messages, with its article."""


_SIGNATURES: tuple[tuple[int, bytes, Format], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", Format("image", "PNG", "a PNG image")),
    (0, b"\xff\xd8\xff", Format("image", "JPEG", "a JPEG image")),
    (0, b"GIF8", Format("image", "GIF", "a GIF image")),
    (8, b"WEBP", Format("image", "WEBP", "a WebP image")),
    (0, b"BM", Format("image", "BMP", "a BMP image")),
    (0, b"II*\0", Format("image", "TIFF", "a TIFF image")),
    (0, b"MM\0*", Format("image", "TIFF", "a TIFF image")),
    (4, b"ftypavif", Format("image", "AVIF", "an AVIF image")),
    (4, b"ftypheic", Format("none", "HEIC", "a HEIC image, which Pillow does not read")),
    (4, b"ftyp", Format("video", "mov", "an MP4 or MOV file")),
    (4, b"moov", Format("video", "mov", "an MP4 or MOV file")),
    (4, b"mdat", Format("video", "mov", "an MP4 or MOV file")),
    (4, b"wide", Format("video", "mov", "an MP4 or MOV file")),
    (0, b"\x1a\x45\xdf\xa3", Format("video", "matroska", "a Matroska or WebM file")),
    (8, b"AVI ", Format("video", "avi", "an AVI file")),
    (0, b"FLV\x01", Format("video", "flv", "an FLV file")),
    (0, b"\0\0\x01\xba", Format("video", "mpeg", "an MPEG file")),
    (0, b"\x30\x26\xb2\x75", Format("video", "asf", "a WMV or ASF file")),
    (188, b"\x47", Format("video", "mpegts", "an MPEG transport stream")),
    (8, b"WAVE", Format("audio", "WAV", "a WAV sound")),
    (0, b"fLaC", Format("audio", "FLAC", "a FLAC sound")),
    (0, b"ID3", Format("audio", "MP3", "an MP3 sound")),
    (0, b"FORM", Format("audio", "AIFF", "an AIFF sound")),
    (0, b"OggS", Format("ogg", "ogg", "an Ogg file")),
    (
        0,
        b"version https://git-lfs",
        Format("none", "LFS", "a Git LFS pointer (run 'git lfs pull')"),
    ),
    (0, b"<!DOCTYPE", Format("none", "HTML", "a web page (a download that failed?)")),
    (0, b"<html", Format("none", "HTML", "a web page (a download that failed?)")),
    (0, b"#EXTM3U", Format("none", "M3U", "a playlist, which is never followed")),
)


def sniff(head: bytes) -> Format | None:
    """Tell the format from a file's first bytes; None when no known signature fits."""
    for offset, magic, found in _SIGNATURES:
        if head[offset : offset + len(magic)] == magic and _fits(found, head):
            return found
    if (
        len(head) > 2 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2
    ):  # MPEG audio frame sync, layer III
        return Format("audio", "MP3", "an MP3 sound")
    if head and b"\0" not in head and _is_text(head):
        return Format("none", "text", "a text file")
    return None


def check_encoded(medium: Medium, config: MediaConfig, row_id: str) -> Format:
    """Check that the medium is there, is not empty, is below `limit_file_mb` and has the signature
    of its kind.

    Raises:
        DataError: one line that names the row, the medium and the reason.
    """
    size = _size(medium, row_id)
    if size == 0:
        raise medium_error(medium, row_id, "0 bytes")
    if size > config.limit_file_mb * 1e6:
        problem = f"{size / 1e6:.1f} MB is more than media.limit_file_mb ({config.limit_file_mb:g})"
        raise medium_error(medium, row_id, problem, remedy="raise the limit or remove the row")
    found = sniff(_head(medium, row_id))
    if found is None:
        raise medium_error(medium, row_id, f"the bytes are of no known {medium.kind} format")
    if found.kind != medium.kind and not (
        found.kind == "ogg" and medium.kind in ("video", "audio")
    ):
        problem = f"it is {found.title}, not {_ARTICLES[medium.kind]} {medium.kind}"
        raise medium_error(medium, row_id, problem)
    return found


def read_encoded(medium: Medium, row_id: str) -> bytes:
    """Return the encoded bytes."""
    if isinstance(medium.source, bytes):
        return medium.source
    try:
        return medium.source.read_bytes()
    except OSError as error:
        raise medium_error(medium, row_id, _reason(error)) from error


def hash_medium(medium: Medium) -> str:
    """Return the BLAKE2b hash (32 hexadecimal digits) of the encoded bytes.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(medium.source, bytes):
        digest.update(medium.source)
        return digest.hexdigest()
    with medium.source.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def medium_error(medium: Medium, row_id: str, problem: str, *, remedy: str = _REPLACE) -> DataError:
    """Make the one line that says which medium of which row cannot be used, why, and what to do.

    A file that no row has yet (`row_id` is empty) is left out by whoever looked for files.
    """
    where = "in the data file" if isinstance(medium.source, bytes) else str(medium.source)
    line = f"row {row_id}: {medium.kind} {where}: {problem}; {remedy}"
    if not row_id:
        line = f"{where}: {problem}; left out"
    return DataError(" ".join(line.split()))


_ARTICLES = {"image": "an", "video": "a", "audio": "an"}
_RIFF_NAMES = {"WEBP", "avi", "WAV"}


def _fits(found: Format, head: bytes) -> bool:
    if found.name in _RIFF_NAMES:
        return head[:4] in (b"RIFF", b"RF64")
    if found.name == "mpegts":
        return head[:1] == b"\x47"
    if found.name == "AIFF":
        return head[8:12] in (b"AIFF", b"AIFC")
    return True


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # a character cut by the end of the head
    return True


def _size(medium: Medium, row_id: str) -> int:
    if isinstance(medium.source, bytes):
        return len(medium.source)
    try:
        if not medium.source.exists():
            raise medium_error(
                medium, row_id, "no such file", remedy="restore the file or remove the row"
            )
        if not medium.source.is_file():
            raise medium_error(medium, row_id, "it is not a regular file")
        return medium.source.stat().st_size
    except (OSError, ValueError) as error:
        raise medium_error(medium, row_id, _reason(error)) from error


def _head(medium: Medium, row_id: str) -> bytes:
    if isinstance(medium.source, bytes):
        return medium.source[:_HEAD_BYTES]
    try:
        with Path(medium.source).open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise medium_error(medium, row_id, _reason(error)) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
