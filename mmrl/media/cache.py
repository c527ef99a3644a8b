"""Remembers tensors by what they were made from: processor outputs on disk, from one run to the
next, and encoder features of a frozen tower.

What is remembered is only ever a saving: an entry that is gone, cut or changed is made again, and
no error of the disk stops a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

_SUFFIX = ".safetensors"
_WRITING = ".writing"
_ABANDONED_S = 3600.0
"""A file that is still being written after so long belongs to a process that was killed."""
_LOOKS = 64
"""The folder is looked over whenever another 64th of the limit was written by this process, so that
several processes together stay near the limit without listing the folder each time."""


def to_stderr(line: str) -> None:
    """Print a line where warnings go."""
    print(line, file=sys.stderr)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Tensors, and what goes with them that is no tensor."""

    tensors: Mapping[str, Tensor]
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What JSON can hold."""


@dataclass(kw_only=True, slots=True)
class DiskCache:
    """Entries in a folder that several processes may share; what was used longest ago goes first.

    An entry is written beside its place and renamed, so nobody reads half of one. It carries a hash
    of its content: one that does not fit is deleted with a warning and counts as missing.
    """

    folder: Path
    limit_mb: float
    warn: Callable[[str], None] = to_stderr
    _bytes: int = 0
    """In the folder when it was last looked over, and written since."""
    _unseen: int = 0
    """Written since the folder was last looked over."""
    _writes: bool = True

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._look_over()
        except OSError as error:
            raise ConfigError(
                f"media.cache_dir: cannot use {self.folder}: {error.strerror}; give a folder that "
                "can be written to"
            ) from error

    def get(self, key: str) -> Entry | None:
        """The entry, or None. `key` is hexadecimal digits, with a prefix of letters if wanted."""
        path = self._path(key)
        try:
            encoded = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.warn(f"mmrl: warning: cache {path}: {error.strerror}; it is made again")
            return None
        entry = _decode(key, encoded)
        if entry is None:
            self.warn(f"mmrl: warning: cache {path}: not what was written; it is made again")
        # Another process may delete it meanwhile, and a folder of others may be read-only.
        with contextlib.suppress(OSError):
            path.unlink() if entry is None else os.utime(path)
        return entry

    def put(
        self, key: str, tensors: Mapping[str, Tensor], notes: Mapping[str, Any] | None = None
    ) -> None:
        """Keep tensors under a key; an entry larger than the limit is not kept."""
        if not self._writes:
            return
        encoded = _encode(key, tensors, notes or {})
        if len(encoded) > self.limit_mb * 1e6:
            return
        path = self._path(key)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_WRITING}")
        try:
            temporary.write_bytes(encoded)
            temporary.replace(path)
            self._bytes += len(encoded)
            self._unseen += len(encoded)
            limit = self.limit_mb * 1e6
            if self._bytes > limit or self._unseen > limit / _LOOKS:
                self._look_over()
        except OSError as error:
            self._writes = False
            self.warn(
                f"mmrl: warning: cache {self.folder}: {error.strerror}; nothing more is written"
            )
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _look_over(self) -> None:
        """Delete the oldest entries beyond the limit, and what killed processes left behind."""
        found: list[tuple[float, int, str]] = []
        for item in os.scandir(self.folder):
            try:
                facts = item.stat()
                if item.name.endswith(_SUFFIX):
                    found.append((facts.st_mtime, facts.st_size, item.path))
                elif item.name.endswith(_WRITING) and time.time() - facts.st_mtime > _ABANDONED_S:
                    os.unlink(item.path)
            except FileNotFoundError:
                continue  # another process deletes too
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit_mb * 1e6:
                break
            Path(path).unlink(missing_ok=True)
            total -= size
        self._bytes, self._unseen = total, 0

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"


@dataclass(kw_only=True, slots=True)
class FeatureCache:
    """Encoder features of media, for a tower that does not learn: in memory up to `limit_mb`, and
    behind that on disk if there is one.

    A key has to name everything that shapes features: the medium's tensors (`Prompt.media_key` and
    its place in the prompt), the tower (`hash_weights`) and the precision.
    """

    limit_mb: float
    disk: DiskCache | None = None
    encoded: int = 0
    """Entries that were put, because there were none."""
    found: int = 0
    """Entries that were there."""
    _kept: OrderedDict[str, Mapping[str, Tensor]] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def get(self, key: str) -> Mapping[str, Tensor] | None:
        """The features on the CPU, or None where they have to be computed and `put`."""
        if key in self._kept:
            self._kept.move_to_end(key)
            self.found += 1
            return self._kept[key]
        entry = self.disk.get(f"features-{key}") if self.disk else None
        if entry is None:
            return None
        self.found += 1
        self._keep(key, entry.tensors)
        return entry.tensors

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep features; they are copied to the CPU, without their gradient."""
        own = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        self.encoded += 1
        self._keep(key, own)
        if self.disk:
            self.disk.put(f"features-{key}", own)

    def _keep(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        if key in self._kept:
            self._bytes -= _size(self._kept.pop(key))
        self._kept[key] = tensors
        self._bytes += _size(tensors)
        while self._bytes > self.limit_mb * 1e6 and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _size(oldest)


def hash_weights(named: Iterable[tuple[str, Tensor]]) -> str:
    """32 hexadecimal digits that name the weights of a tower, about a second per gigabyte."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in named:
        _update(digest, name, tensor)
    return digest.hexdigest()


def _encode(key: str, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> bytes:
    from safetensors.torch import save

    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(notes, sort_keys=True)
    return save(own, metadata={"notes": text, "hash": _digest(key, own, text)})


def _decode(key: str, encoded: bytes) -> Entry | None:
    """The entry; None where the bytes are not those that were written under this key."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(encoded)  # which has looked at the header that is read here
        header = json.loads(encoded[8 : 8 + int.from_bytes(encoded[:8], "little")])
        metadata = header["__metadata__"]
        if metadata["hash"] != _digest(key, tensors, metadata["notes"]):
            return None
        return Entry(tensors=tensors, notes=json.loads(metadata["notes"]))
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None


def _digest(key: str, tensors: Mapping[str, Tensor], notes: str) -> str:
    digest = hashlib.blake2b(f"{key}\n{notes}\n".encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        _update(digest, name, tensor)
    return digest.hexdigest()


def _update(digest: Any, name: str, tensor: Tensor) -> None:
    import torch

    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    flat = tensor.detach().cpu().contiguous().flatten()
    if flat.numel():
        digest.update(flat.view(torch.uint8).numpy())


def _size(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())
