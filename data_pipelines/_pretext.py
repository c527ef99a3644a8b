"""What every question has that is made of a picture, a video or a sound without labels; no
pipeline.

The answer is known by construction. It must be found in the pixels or samples alone: files are
named by a hash of their bytes, carry no metadata, and the pieces of a row are all encoded in the
same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any

from pydantic import Field

from mmrl.config.schema import MediaConfig
from mmrl.data.folder import SourceFile

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=1000)]
Difficulty = Share | tuple[Share, Share]
"""0 (easy) to 1 (hard), or two of them between which each row's is drawn."""

ENDING = "Give the final answer between <answer> and </answer>."

LIMITS = MediaConfig()
"""Pixels, seconds and bytes beyond which a file is refused before it is decoded."""


def stream(task: str, source: SourceFile, seed: int, number: int) -> Random:
    """Return the random stream of a row: the task, the seed, the file's bytes and a number."""
    return Random(f"{task}/{seed}/{source.digest}/{number}")


def drawn(difficulty: Difficulty, rng: Random) -> float:
    """Return the difficulty of one row, to two decimals."""
    if isinstance(difficulty, tuple):
        return round(rng.uniform(min(difficulty), max(difficulty)), 2)
    return difficulty


def band(difficulty: float, count: int) -> int:
    """Return which of `count` equal steps of difficulty, 0 to 1, this is.

    >>> band(0.0, 3), band(0.5, 3), band(1.0, 3)
    (0, 1, 2)
    """
    return min(count - 1, int(difficulty * count))


def store(folder: Path, encoded: bytes, suffix: str) -> str:
    """Write encoded bytes under a name made of their hash; return the path below the folder."""
    name = hashlib.blake2b(encoded, digest_size=16).hexdigest()
    path = f"media/{name[:2]}/{name}.{suffix}"
    try:
        (folder / path).write_bytes(encoded)
    except FileNotFoundError:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(encoded)
    return path


def row(
    task: str,
    source: SourceFile,
    number: int,
    *,
    seed: int,
    parts: Sequence[str | Mapping[str, Any]],
    answer: Any,
    verifier: str,
    difficulty: float,
    params: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a row whose prompt is these parts in order, strings being text.

    Args:
        task: The pipeline's name.
        source: The file that the row is made of.
        number: Which of the file's rows it is.
        seed: The build's seed.
        parts: Texts and media, in the order in which they are shown.
        answer: The row's answer.
        verifier: Who judges it.
        difficulty: 0 to 1.
        params: The verifier's parameters.
        extra: Further facts; the file's name is added.
    """
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {
        "id": f"{task}-{seed}-{source.key}-{number}",
        "source": task,
        "prompt": [{"role": "user", "content": content}],
        "answer": answer,
        "verifier": {"name": verifier, "params": dict(params or {})},
        "difficulty": difficulty,
        "extra": {"file": source.name, **(extra or {})},
    }
