from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mmrl.media.encoded import hash_medium
from mmrl.media.writers import write_mp4, write_png, write_wav
from mmrl.types import Medium


def test_the_hash_is_blake2b_of_the_encoded_bytes(png):
    expected = hashlib.blake2b(png.read_bytes(), digest_size=16).hexdigest()
    assert hash_medium(Medium(kind="image", source=png)) == expected
    assert hash_medium(Medium(kind="image", source=png.read_bytes())) == expected


def test_the_same_content_is_written_as_the_same_bytes(tmp_path, frames):
    sound = np.sin(np.arange(1000) / 5)
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        write_png(tmp_path / folder / "a.png", frames[0])
        write_mp4(tmp_path / folder / "a.mp4", frames, fps=4)
        write_wav(tmp_path / folder / "a.wav", sound)
    for name in ("a.png", "a.mp4", "a.wav"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_an_mp4_needs_even_sides(tmp_path):
    with pytest.raises(ValueError, match="33 x 48 pixels"):
        write_mp4(tmp_path / "a.mp4", np.zeros((2, 48, 33, 3), dtype=np.uint8), fps=4)
