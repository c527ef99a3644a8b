"""Real files, small ones, for the tests of decoding."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from mmrl.config.schema import MediaConfig
from mmrl.media.writers import write_mp4, write_png, write_wav
from mmrl.types import Medium


@pytest.fixture
def config():
    return MediaConfig(video_fps=4)


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "picture.png"
    write_png(path, np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    return path


@pytest.fixture
def frames():
    """Twelve noisy frames, so that the encoded video has some length to be cut."""
    frames = np.random.default_rng(0).integers(0, 256, (12, 56, 80, 3), dtype=np.uint8)
    for index in range(12):
        frames[index, :24, : 5 * index + 5] = (20 * index, 255 - 20 * index, 128)
    return frames


@pytest.fixture
def mp4(tmp_path, frames):
    path = tmp_path / "clip.mp4"
    write_mp4(path, frames, fps=4)
    return path


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "tone.wav"
    write_wav(path, 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000))
    return path


def turned(mp4: Path, degrees: int) -> Path:
    """Write a copy whose track header says that it is to be shown turned clockwise."""
    one = 0x10000
    matrix = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[degrees]
    encoded = bytearray(mp4.read_bytes())
    at = encoded.find(b"tkhd") + 44
    a, b, c, d = matrix
    struct.pack_into(">9i", encoded, at, a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path = mp4.with_name(f"turned-{degrees}.mp4")
    path.write_bytes(encoded)
    return path


@pytest.fixture
def turn():
    return turned


@pytest.fixture
def medium_of():
    def make(kind, source):
        return Medium(kind=kind, source=source)

    return make
