"""Find the pictures, videos or sounds below a folder that nobody has looked through.

What is no medium of the wanted kind is named, never opened by a decoder and never passed over in
silence. Only names that begin with a dot are left alone, as every system does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmrl.errors import ConfigError, DataError
from mmrl.media.encoded import sniff
from mmrl.types import MediaKind

PEERS = 8
"""Files after a file, in order and round the end, that its rows may compare it with."""

_HEAD_BYTES = 512
_PLURALS = {"image": "pictures", "video": "videos", "audio": "sounds"}
_ARTICLES = {"image": "an image", "video": "a video", "audio": "a sound"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A file that rows are made of."""

    kind: MediaKind
    path: Path
    name: str
    """Its path below the folder, for a row's `extra`."""
    digest: str = ""
    """Hash of its bytes; empty until they are read."""
    key: str = ""
    """Hash of its bytes and of the pipeline's params, so that no two builds share a row's id."""
    peers: tuple[Path, ...] = ()
    """Other files of the folder, for questions that compare."""


def find_media(folder: str | Path, kind: MediaKind) -> tuple[list[SourceFile], list[DataError]]:
    """Return the files of a kind below the folder in the order of their names, and one line for
    each thing that is left out.

    A file is taken for what its first bytes say. Symbolic links are followed, each folder is read
    once.

    Raises:
        ConfigError: the folder is not there, or is no folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "is no folder" if folder.exists() else "there is no such folder"
        raise ConfigError(f"in: {folder}: {found}; give a folder of {_PLURALS[kind]}")
    paths: list[Path] = []
    skipped: list[DataError] = []
    for path in walk_files(folder, skipped):
        reason = _unfit(path, kind)
        if reason:
            skipped.append(left_out(path, reason))
        else:
            paths.append(path)
    files = [
        SourceFile(
            kind=kind,
            path=path,
            name=_printable(path.relative_to(folder)),
            peers=_peers(paths, index),
        )
        for index, path in enumerate(paths)
    ]
    return files, skipped


def left_out(path: Path, reason: str) -> DataError:
    """Make the one line that says which file no rows are made of, and why."""
    return DataError(" ".join(f"{_printable(path)}: {reason}; left out".split()))


def walk_files(folder: Path, skipped: list[DataError]) -> Iterator[Path]:
    """Yield the files below a folder, depth first, in the order of their names; add a line to
    `skipped` for each thing that cannot be followed.
    """
    read = {_identity(folder.stat())}
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        if here.is_dir():
            waiting += reversed(_entries(here, skipped, read))
        else:
            yield here


def _entries(folder: Path, skipped: list[DataError], read: set[tuple[int, int]]) -> list[Path]:
    """Return what stands in a folder, without folders that were read already."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        skipped.append(left_out(folder, f"the folder cannot be read ({error.strerror})"))
        return []
    found = []
    for path in (folder / name for name in names):
        try:
            status = path.stat()
        except OSError as error:
            reason = "the symbolic link leads nowhere" if path.is_symlink() else error.strerror
            if path.is_symlink() and error.errno in _LOOPS:
                reason = "the symbolic link leads to itself"
            skipped.append(left_out(path, str(reason)))
            continue
        if path.is_dir():
            if _identity(status) in read:
                reason = "leads to a folder that is read already"
                reason = f"a symbolic link that {reason}" if path.is_symlink() else reason
                skipped.append(left_out(path, reason))
                continue
            read.add(_identity(status))
        found.append(path)
    return found


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


_LOOPS = (errno.ELOOP,)


def _unfit(path: Path, kind: MediaKind) -> str:
    """Say why a file cannot be a medium of the kind; nothing where it may be one."""
    if not path.is_file():
        return "it is not a regular file"
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if not head:
        return "0 bytes"
    found = sniff(head)
    if found is None:
        return f"the bytes are of no known {kind} format"
    if found.kind == kind or (found.kind == "ogg" and kind in ("video", "audio")):
        return ""
    return f"it is {found.title}, not {_ARTICLES[kind]}"


def _peers(paths: Sequence[Path], index: int) -> tuple[Path, ...]:
    count = min(PEERS, len(paths) - 1)
    return tuple(paths[(index + step) % len(paths)] for step in range(1, count + 1))


def _printable(path: Path) -> str:
    """Return the path without bytes that no text can hold and without line breaks."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
