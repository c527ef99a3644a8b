"""Small media, and questions about them, for the tests of training."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mmrl.data.rows import parse_rows
from mmrl.media.writers import write_mp4, write_png, write_wav

# Two test processes whose torch has two threads each stand in each other's way; children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def media_folder(tmp_path_factory) -> Path:
    """Two pictures, two videos of different rates and two sounds of different lengths."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    write_png(folder / "a.png", rng.integers(0, 256, (56, 84, 3), dtype=np.uint8))
    write_png(folder / "b.png", rng.integers(0, 256, (84, 56, 3), dtype=np.uint8))
    write_mp4(folder / "a.mp4", rng.integers(0, 256, (8, 56, 56, 3), dtype=np.uint8), fps=4)
    write_mp4(folder / "b.mp4", rng.integers(0, 256, (6, 56, 84, 3), dtype=np.uint8), fps=2)
    write_wav(folder / "a.wav", 0.5 * np.sin(np.arange(16_000) / 9))
    write_wav(folder / "b.wav", 0.5 * np.sin(np.arange(9_000) / 5))
    return folder


@pytest.fixture(scope="session")
def ask(media_folder):
    """Make a row from what its user says: texts, and media as `image:a.png`."""

    def make(*parts: str, row_id: str = "r1", folder: Path = media_folder, **changes):
        raw = {
            "id": row_id,
            "source": "toy",
            "prompt": [{"role": "user", "content": [_part(part) for part in parts]}],
            "answer": "3",
            "verifier": "exact",
            **changes,
        }
        return parse_rows([(f"toy:{row_id}", raw)], folder=folder, name="toy")[0]

    return make


def _part(text: str) -> dict[str, str]:
    kind, colon, name = text.partition(":")
    return {"type": kind, kind: name} if colon else {"type": "text", "text": text}
