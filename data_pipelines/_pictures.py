"""Pictures in and out, for the questions that are made of pictures; no pipeline.

All pieces are written as JPEG of the same quality with colour at full resolution. Pieces that are
cut out begin and end on multiples of GRID pixels, so that the blocks of the file that they come
from lie alike in all of them, and a seam never runs through a block of the file that is written.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_pipelines._pretext import LIMITS, store
from mmrl.data.folder import SourceFile, left_out
from mmrl.media.image import decode_image
from mmrl.types import Medium

GRID = 16
"""Pixels: the blocks of a JPEG with colour at half resolution."""
QUALITY = 95
Size = Annotated[int, Field(ge=64, le=4096, multiple_of=16)]

_THUMBNAIL = 16


def open_picture(source: SourceFile, longer_side: int) -> np.ndarray:
    """Return uint8 RGB pixels [height, width, 3] with at most so many on the longer side.

    Raises:
        DataError: the file cannot be decoded or is over a limit.
    """
    import cv2

    medium = Medium(kind="image", source=source.path)
    picture = decode_image(medium, LIMITS, "", longer_side=longer_side)
    pixels = np.asarray(picture)
    scale = longer_side / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def square_of(source: SourceFile, pixels: np.ndarray, side: int, rng: Random) -> np.ndarray:
    """Return a square [side, side, 3] from the middle of a picture, a little off at random.

    Raises:
        DataError: the picture is smaller than a quarter of that side.
    """
    import cv2

    shortest = min(pixels.shape[:2])
    if shortest < max(side // 4, 28):
        raise left_out(source.path, f"{shortest} pixels on its shorter side are too few")
    whole = int(shortest * rng.uniform(0.94, 1.0))
    top, left = (
        max(0, min(free, round(free * rng.uniform(0.4, 0.6))))
        for free in (pixels.shape[0] - whole, pixels.shape[1] - whole)
    )
    square = pixels[top : top + whole, left : left + whole]
    how = cv2.INTER_AREA if whole > side else cv2.INTER_CUBIC
    return cv2.resize(square, (side, side), interpolation=how)


def image_part(folder: Path, pixels: np.ndarray) -> dict[str, Any]:
    """Write uint8 RGB pixels as JPEG; return the part of a prompt that shows them."""
    return {"type": "image", "image": store(folder, encode(pixels), "jpg")}


def encode(pixels: np.ndarray) -> bytes:
    """Return a JPEG without metadata."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise RuntimeError("OpenCV did not encode the picture")
    return encoded.tobytes()


def cut(pixels: np.ndarray, rows: int, columns: int) -> list[np.ndarray] | None:
    """Cut equal pieces whose sides are multiples of GRID, in reading order; the margin that is left
    over is shared between the edges. None where the picture is too small.
    """
    height, width = (
        side // count // GRID * GRID
        for side, count in zip(pixels.shape[:2], (rows, columns), strict=True)
    )
    if min(height, width) < 2 * GRID:
        return None
    top = (pixels.shape[0] - rows * height) // 2
    left = (pixels.shape[1] - columns * width) // 2
    return [
        pixels[y : y + height, x : x + width]
        for y in range(top, top + rows * height, height)
        for x in range(left, left + columns * width, width)
    ]


def paste(pieces: list[np.ndarray], columns: int) -> np.ndarray:
    """Put equal pieces together, row by row."""
    lines = [pieces[start : start + columns] for start in range(0, len(pieces), columns)]
    return np.vstack([np.hstack(line) for line in lines])


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Return what is left of a picture at a glance: float32 [16, 16, 3]."""
    import cv2

    size = (_THUMBNAIL, _THUMBNAIL)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def unlikeness(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean difference of two thumbnails, in levels of 256."""
    return float(np.abs(one - other).mean())
