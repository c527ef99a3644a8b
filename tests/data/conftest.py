"""Rows files for the tests of data."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from mmrl.config.schema import MediaConfig
from mmrl.media.writers import write_mp4, write_png, write_wav


@pytest.fixture(autouse=True)
def same_project():
    """Commands name the project in the environment; the next test looks for its own."""
    before = os.environ.pop("MMRL_PROJECT", None)
    yield
    os.environ.pop("MMRL_PROJECT", None)
    if before is not None:
        os.environ["MMRL_PROJECT"] = before


@pytest.fixture
def raw():
    """Make a row as a JSON object; keyword arguments replace keys, None takes one away."""

    def make(row_id="r1", **changes):
        row = {
            "id": row_id,
            "source": "toy",
            "prompt": [{"role": "user", "content": "How many?"}],
            "answer": "3",
            "verifier": {"name": "exact"},
            **changes,
        }
        return {key: value for key, value in row.items() if value is not None}

    return make


@pytest.fixture
def write_jsonl(tmp_path):
    def write(*raws, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(raw) + "\n" for raw in raws), encoding="utf-8")
        return path

    return write


@pytest.fixture
def config():
    return MediaConfig()


@pytest.fixture
def media(tmp_path):
    """A picture, a video and a sound below `media/`."""
    folder = tmp_path / "media"
    folder.mkdir()
    rng = np.random.default_rng(0)
    write_png(folder / "a.png", rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    write_mp4(folder / "a.mp4", rng.integers(0, 256, (8, 56, 56, 3), dtype=np.uint8), fps=4)
    write_wav(folder / "a.wav", 0.5 * np.sin(np.arange(8000) / 9))
    return folder


@pytest.fixture
def with_media(raw):
    """Make a row that shows media, given as kind=path."""

    def make(row_id, *, answer="3", **paths):
        parts = [{"type": kind, kind: path} for kind, path in paths.items()]
        content = [*parts, {"type": "text", "text": "How many?"}]
        return raw(row_id, answer=answer, prompt=[{"role": "user", "content": content}])

    return make
