"""The process in which media are decoded ahead.

`python -m mmrl.media.pool_worker LIFE_FD PARENT_PID MEMORY_FD` is told rows, leaves their
tensors in the memory that it shares with its parent, and answers what they are. It ends when its
parent does.
"""

from __future__ import annotations

import json
import os
import pickle
import traceback
from typing import IO, Any

import torch

from mmrl.children import attach, receive, send
from mmrl.compat import make_torchvision_importable
from mmrl.errors import ConfigError, DataError
from mmrl.media.cache import DiskCache
from mmrl.media.pool import as_bytes
from mmrl.recipe import Maker, Processed, Recipe
from mmrl.types import Medium, Row


def main() -> None:
    """Make rows until the parent is gone."""
    source, sink, [memory] = attach()
    torch.set_num_threads(1)
    make_torchvision_importable()
    maker: Maker | None = None
    warnings: list[str] = []
    while (message := receive(source)) is not None:
        try:
            # Only the parent, which started this process, can write here; a processor has no other
            # form. What decoders make of media goes back as JSON and bare bytes.
            recipe, row = pickle.loads(message)
            if recipe is not None:
                maker = None
                maker = _maker(pickle.loads(recipe), warnings)
            assert maker is not None
            answer = _make(maker, row, memory, sink) | {"warnings": [*warnings]}
            warnings.clear()
        except (ConfigError, DataError) as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        except Exception:  # the parent raises it
            answer = {"failed": traceback.format_exc()}
        send(sink, json.dumps(answer).encode())


def _maker(recipe: Recipe, warnings: list[str]) -> Maker:
    media, disk = recipe.media, None
    if media.cache_dir is not None:
        disk = DiskCache(folder=media.cache_dir, limit_mb=media.disk_cache_mb, warn=warnings.append)
    return Maker(recipe=recipe, disk=disk)


def _make(maker: Maker, row: Row, memory: int, sink: IO[bytes]) -> dict[str, Any]:
    """Make a row, saying on the way where it is, in case that it is the end of this process."""

    def tell(medium: Medium | None) -> None:
        place = None if medium is None else row.media.index(medium)
        send(sink, json.dumps({"at": place}).encode())

    tell(None)
    return _leave(maker(row, tell), memory)


def _leave(made: Processed, memory: int) -> dict[str, Any]:
    """Put the tensors into the shared memory, one behind the other, and say what they are."""
    tensors, offset = [], 0
    for name, tensor in made.tensors.items():
        whole = tensor.contiguous()
        view = as_bytes(whole)
        while len(view):
            count = os.pwrite(memory, view, offset)
            view, offset = view[count:], offset + count
        tensors.append((name, str(whole.dtype).removeprefix("torch."), list(whole.shape)))
    names = ("size", "media_key", "decoded", "from_disk")
    return {"tensors": tensors, "facts": {name: getattr(made, name) for name in names}}


if __name__ == "__main__":
    main()
