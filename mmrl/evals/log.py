"""The sample log: every response of a run, appended as it comes, and never asked for twice.

A line is one response to one sample of one item. Its key is a hash of all that shaped it: the
prompt's text, the media's bytes, the settings that media and sampling went through, the sample's
number, the weights' fingerprint, the engine and its version. So a run goes on where it was killed,
k samples become 2k by asking for the other k, and other weights under the same path are other keys.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from mmrl.errors import RunError
from mmrl.types import StopReason

SAMPLES = "samples.jsonl"
ERRORS = "errors.jsonl"
GROUP = 64
"""Lines between two waits for the disk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedSample:
    """One line of the log."""

    key: str
    task: str
    id: str
    """The item's."""
    sample: int
    """0 to k - 1."""
    response: str
    stop: StopReason | None
    tokens: int | None
    """Of the response, as the engine counts; None where it does not say."""
    settings: Mapping[str, Any]
    """What media, sampling and engine were set to."""
    sizes: tuple[tuple[int, int], ...] = ()
    """Width and height of each image as the model saw it; empty where that is not known."""
    extraction: str | None = None
    """An answer that came with the response (replayed files)."""


_NAMES = tuple(found.name for found in fields(LoggedSample))


def sample_key(**parts: Any) -> str:
    """Return the hash of everything that shaped a response.

    >>> sample_key(prompt="a", sample=0) != sample_key(prompt="a", sample=1)
    True
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


@dataclass(kw_only=True, slots=True)
class SampleLog:
    """An open log. One process writes; whoever reads a file that is being written sees whole lines,
    and perhaps one that is not finished.
    """

    folder: Path
    samples: dict[str, LoggedSample] = field(default_factory=dict)
    """What was logged, by key; the first of each."""
    _lock: FileLock = field(init=False)
    _file: IO[bytes] = field(init=False)
    _unsynced: int = 0

    def __post_init__(self) -> None:
        self._lock = lock_folder(self.folder)
        path = self.folder / SAMPLES
        _drop_torn_line(path)
        for line in read_log(path):
            self.samples.setdefault(line.key, line)
        self._file = path.open("ab")

    def append(self, line: LoggedSample) -> None:
        """Write one line at once; the disk is waited for once in a group of them."""
        self.samples.setdefault(line.key, line)
        self._file.write(_encoded({name: getattr(line, name) for name in _NAMES}))
        self._file.flush()
        self._unsynced += 1
        if self._unsynced >= GROUP:
            self.sync()

    def sync(self) -> None:
        """Wait until every line is on disk."""
        os.fsync(self._file.fileno())
        self._unsynced = 0

    def close(self) -> None:
        """Close the log and let other processes in."""
        self.sync()
        self._file.close()
        self._lock.release()


def check_folder(folder: Path) -> None:
    """Refuse the folder of a run that cannot be made, without making it.

    Raises:
        RunError: a file stands in its place or above it, or nothing may be written there.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        problem = "is no folder" if not there.is_dir() else "is not writable"
        raise RunError(f"out: {folder} cannot be written to: {there} {problem}; choose another")


def lock_folder(folder: Path) -> FileLock:
    """Make the folder of a run where it is not there yet, and keep other evaluations out.

    Raises:
        RunError: it cannot be written to, or another evaluation writes it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(blocking=False)
    except Timeout as error:
        raise RunError(
            f"out: {folder} is being written by another evaluation; stop it, or choose another "
            "folder"
        ) from error
    except OSError as error:
        raise RunError(
            f"out: {folder} cannot be written to: {error.strerror}; choose another folder"
        ) from error
    return lock


def read_log(path: Path) -> Iterator[LoggedSample]:
    """Yield the lines of a log; a last line that was never finished is passed over.

    Raises:
        RunError: a line in the middle is broken.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                raw = json.loads(line)
                raw["sizes"] = tuple(tuple(size) for size in raw.get("sizes", ()))
                yield LoggedSample(**raw)
            except (ValueError, TypeError, RecursionError) as error:
                raise RunError(
                    f"{path}:{number}: not a line of a sample log; remove the line, and its sample "
                    "is asked for again"
                ) from error


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write a whole JSONL file at once: readers see the old one or the new one."""
    temporary = path.with_name(f".{path.name}.writing")
    with temporary.open("wb") as file:
        for line in lines:
            file.write(_encoded(line))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def _encoded(line: Mapping[str, Any]) -> bytes:
    # half a character, which no UTF-8 can hold, comes out of some decoders
    return (json.dumps(line, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line that a killed process did not finish."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        whole = end
        while whole > 0:
            start = max(0, whole - 65536)
            file.seek(start)
            newline = file.read(whole - start).rfind(b"\n")
            if newline >= 0:
                whole = start + newline + 1
                break
            whole = start
        if whole < end:
            file.truncate(whole)
