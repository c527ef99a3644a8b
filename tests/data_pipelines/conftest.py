"""Folders of pictures, clips and sounds that look and sound recorded, and can be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmrl.config.schema import MediaConfig
from mmrl.data.rows import load_rows
from mmrl.data.sources import build_into
from mmrl.media.image import decode_image
from mmrl.media.video import decode_video
from mmrl.media.writers import write_mp4, write_wav

PHOTOS, CLIPS, SOUNDS = 20, 4, 12
SEES_ALL = MediaConfig(video_fps=2.0, video_max_frames=256, video_decoder="pyav")


def draw_photo(seed: int, height: int, width: int) -> np.ndarray:
    """Gradients, textures at several scales, shapes and grain."""
    import cv2

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    slopes = rng.uniform(-120, 120, (2, 3))
    pixels = rng.uniform(70, 190, 3) + x[..., None] * slopes[0] + y[..., None] * slopes[1]
    for cell, spread in ((64, 35.0), (16, 15.0), (4, 8.0)):
        noise = rng.normal(0, spread, (height // cell + 2, width // cell + 2, 3))
        pixels += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    for _ in range(7):
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        colour = tuple(map(int, rng.integers(0, 256, 3)))
        cv2.circle(pixels, centre, int(rng.integers(12, 50)), colour, -1)
    return np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """JPEG photographs of several shapes, some with EXIF that says where and how they were taken."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    shapes = ((336, 448), (300, 400), (448, 448), (520, 390))
    for number in range(PHOTOS):
        image = Image.fromarray(draw_photo(number, *shapes[number % len(shapes)]))
        exif = Image.Exif()
        exif[0x010E] = f"photo number {number}"
        (folder / f"{number % 3}").mkdir(exist_ok=True)
        path = folder / f"{number % 3}" / f"photo {number:02}.jpg"
        image.save(path, quality=85, exif=exif, comment=b"holiday")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """Videos over which a white bar at the top grows as time goes by, over a panning ground."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(CLIPS):
        wide = draw_photo(100 + number, 96, 300)
        wide[:] = wide // 2
        frames = []
        for index in range(120):
            frame = wide[:, index : index + 128].copy()
            frame[:12] = 0
            frame[:12, : round(128 * (index + 1) / 120)] = 255
            frames.append(frame)
        write_mp4(folder / f"clip {number}.mp4", np.stack(frames), fps=12)
    return folder


@pytest.fixture(scope="session")
def sounds(tmp_path_factory) -> Path:
    """Sounds whose pitch rises as time goes by, each from and to another one, with decaying beats."""
    folder = tmp_path_factory.mktemp("sounds")
    rate = 16_000
    for number in range(SOUNDS):
        seconds = 8 + number % 3
        t = np.arange(seconds * rate) / rate
        low, high = (300, 1200) if number % 2 else (1500, 3000)
        pitch = low * (high / low) ** (t / seconds)
        beats = np.exp(-4 * (t * (2 + number / 10) % 1))
        noise = np.random.default_rng(number).normal(0, 0.01, len(t))
        write_wav(
            folder / f"sound {number}.wav",
            0.5 * beats * np.sin(2 * np.pi * np.cumsum(pitch) / rate) + noise,
        )
    return folder


@pytest.fixture(scope="session")
def rows_of(tmp_path_factory):
    """Build a pipeline from a folder, once for the same arguments, and load its rows."""
    built = {}

    def rows(name, folder, *, seed=0, **params):
        key = (name, str(folder), seed, repr(sorted(params.items())))
        if key not in built:
            target = tmp_path_factory.mktemp("built") / name
            build_into(target, name, {"in": folder, **params}, seed=seed)
            built[key] = load_rows(target / "rows.jsonl")
        return built[key]

    return rows


@pytest.fixture(scope="session")
def look():
    """Decode a row's pictures, or its videos as all of their frames."""

    def media(row):
        found = []
        for medium in row.media:
            if medium.kind == "image":
                found.append(np.asarray(decode_image(medium, SEES_ALL, row.id)))
            else:
                found.append(decode_video(medium, SEES_ALL, row.id).frames_THWC)
        return found

    return media


@pytest.fixture(scope="session")
def clock():
    """Tell from the bar at the top at which moment, 0 to 1, a frame was taken."""

    def moment(frame):
        return float((frame[1 : max(2, len(frame) // 12)].mean(axis=(0, 2)) > 128).mean())

    return moment
