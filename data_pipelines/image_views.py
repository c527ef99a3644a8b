"""Views of a picture: turned by how much, of one picture or of two, cut from which corner.

After SSL4RL (arXiv 2510.16416). Rotation is counter-clockwise; all squares are cut, turned and
shrunk by the same steps at every angle, so that neither size nor sharpness tells it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np

from data_pipelines._pictures import (
    Size,
    image_part,
    open_picture,
    square_of,
    thumbnail,
    unlikeness,
)
from data_pipelines._pretext import ENDING, Count, Difficulty, band, drawn, row, stream
from mmrl.data.folder import SourceFile, left_out
from mmrl.data.pipelines import medium_pipeline
from mmrl.errors import DataError

STEPS = (90, 45, 30, 15)
"""Degrees, from easy to hard."""
CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")

_ALIKE = 2.0
"""Levels of 256: views that differ by less cannot be told apart."""
_TRIES = 8


@medium_pipeline("image")
def rotation(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.2,
    step: Literal[90, 45, 30, 15] | None = None,
    reference: bool = True,
    size: Size = 224,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Say by how many degrees a picture was turned.

    Args:
        source: The picture.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; chooses the step of the angles, from 90 to 15 degrees.
        step: The step, instead of what the difficulty chooses; the rows' difficulty follows from
            it.
        reference: Show the picture as it was before the turned one.
        size: Pixels per side.
        count: Questions per picture.
        ending: The last words of the prompt.
    """
    pixels = open_picture(source, 4 * size)
    for number in range(count):
        rng = stream("rotation", source, seed, number)
        level = drawn(difficulty, rng)
        if step is not None:
            level = round((STEPS.index(step) + 0.5) / len(STEPS), 2)
        degrees = step or STEPS[band(level, len(STEPS))]
        square = square_of(source, pixels, 2 * size, rng)
        angle = degrees * rng.randrange(360 // degrees)
        shown = [
            _turned(square, turn, size, rng) for turn in ((0, angle) if reference else (angle,))
        ]
        _check_turns(source, square, size)
        which = (
            "The second picture is the first one, turned" if reference else "The picture is turned"
        )
        angles = ", ".join(str(turn) for turn in range(0, 360, degrees))
        text = (
            f"{which} counter-clockwise. By how many degrees? It is one of {angles}. Answer with "
            "the number alone."
        )
        yield row(
            "rotation",
            source,
            number,
            seed=seed,
            parts=[*(image_part(folder, view) for view in shown), f"{text} {ending}".strip()],
            answer=str(angle),
            verifier="rotation",
            params={"lenient": True},
            difficulty=level,
        )


@medium_pipeline("image")
def contrastive(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.5,
    size: Size = 224,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Say whether two views, cropped, recoloured and blurred, are of one picture or of two.

    Args:
        source: The picture.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; how small the crops are and how much is changed.
        size: Pixels per side of a view.
        count: Questions per picture.
        ending: The last words of the prompt.
    """
    one = open_picture(source, 2 * size)
    for number in range(count):
        rng = stream("contrastive", source, seed, number)
        level = drawn(difficulty, rng)
        answer = rng.choice(("positive", "negative"))
        other = one if answer == "positive" else _other_picture(source, one, 2 * size)
        views = [_view(pixels, size, level, rng) for pixels in (one, other)]
        text = (
            "Both pictures are views that were cropped and may be mirrored, recoloured or blurred. "
            "Are they views of one picture (positive) or of two different ones (negative)?"
        )
        yield row(
            "contrastive",
            source,
            number,
            seed=seed,
            parts=[*(image_part(folder, view) for view in views), f"{text} {ending}".strip()],
            answer=answer,
            verifier="contrastive",
            params={"case": False},
            difficulty=level,
        )


@medium_pipeline("image")
def position(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.3,
    size: Size = 448,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Say from which corner of a picture a small piece of it was cut.

    Args:
        source: The picture.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; the piece has 80 % (easy) to 20 % (hard) of the sides of its
            quarter.
        size: Pixels on the longer side of the picture; smaller ones are not enlarged.
        count: Questions per picture.
        ending: The last words of the prompt.
    """
    pixels = open_picture(source, size)
    if min(pixels.shape[:2]) < 112:
        reason = f"{min(pixels.shape[:2])} pixels on its shorter side are too few"
        raise left_out(source.path, reason)
    for number in range(count):
        rng = stream("position", source, seed, number)
        level = drawn(difficulty, rng)
        answer, piece = _corner_piece(source, pixels, 0.8 - 0.6 * level, rng)
        text = (
            "The second picture is a piece of the first one. From which quarter of it was it cut: "
            f"{', '.join(CORNERS[:3])} or {CORNERS[3]}?"
        )
        shown = [image_part(folder, view) for view in (pixels, piece)]
        yield row(
            "position",
            source,
            number,
            seed=seed,
            parts=[*shown, f"{text} {ending}".strip()],
            answer=answer,
            verifier="position",
            params={"case": False},
            difficulty=level,
        )


def _turned(square: np.ndarray, angle: int, size: int, rng: Random) -> np.ndarray:
    """Turn a square and cut out the middle that every angle fills; all angles are resampled."""
    import cv2

    side = len(square)
    centre = (side - 1) / 2
    # At multiples of 90 degrees a whole shift would leave the pixels as sharp as they were.
    shift = [rng.uniform(-3, 3) for _ in range(2)]
    zoom = rng.uniform(1.0, 1.03)
    matrix = cv2.getRotationMatrix2D((centre, centre), angle, zoom)
    matrix[:, 2] += shift
    turned = cv2.warpAffine(
        square, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    inner = int(side / math.sqrt(2)) - 8
    start = (side - inner) // 2
    middle = turned[start : start + inner, start : start + inner]
    return cv2.resize(middle, (size, size), interpolation=cv2.INTER_AREA)


def _check_turns(source: SourceFile, square: np.ndarray, size: int) -> None:
    """Refuse a picture that looks the same when it is turned by a quarter or a half."""
    look = thumbnail(_turned(square, 0, size, Random(0)))
    if any(unlikeness(look, np.rot90(look, turns)) < _ALIKE for turns in (1, 2)):
        raise left_out(source.path, "it looks the same when it is turned")


def _other_picture(source: SourceFile, one: np.ndarray, longer_side: int) -> np.ndarray:
    """Return the next picture of the folder that can be decoded and looks different."""
    look = thumbnail(one)
    for path in source.peers:
        try:
            other = open_picture(SourceFile(kind="image", path=path, name=path.name), longer_side)
        except DataError:
            # It is named when its own rows are made.
            continue
        if unlikeness(look, thumbnail(other)) >= 4 * _ALIKE:
            return other
    reason = f"none of the {len(source.peers)} pictures that follow it is a different one"
    raise left_out(source.path, reason)


def _view(pixels: np.ndarray, size: int, level: float, rng: Random) -> np.ndarray:
    """Crop at random, mirror, recolour, take the colour away and blur, each with a chance."""
    import cv2

    view = _random_crop(pixels, size, level, rng)
    if rng.random() < 0.5:
        view = np.ascontiguousarray(view[:, ::-1])
    if rng.random() < 0.8:
        view = _recoloured(view, level, rng)
    if rng.random() < 0.4 * level:
        grey = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)
        view = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.5:
        view = cv2.GaussianBlur(view, (0, 0), rng.uniform(0.1, 0.1 + 1.9 * level))
    return view


def _random_crop(pixels: np.ndarray, size: int, level: float, rng: Random) -> np.ndarray:
    """Crop between 8 % (hard) and all of the area, at an aspect of 3/4 to 4/3, to a square."""
    import cv2

    height, width = pixels.shape[:2]
    area = height * width * rng.uniform(0.6 - 0.52 * level, 1.0 - 0.4 * level)
    aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    across = max(8, min(width, round(math.sqrt(area * aspect))))
    down = max(8, min(height, round(math.sqrt(area / aspect))))
    top, left = rng.randint(0, max(0, height - down)), rng.randint(0, max(0, width - across))
    crop = pixels[top : top + down, left : left + across]
    how = cv2.INTER_AREA if min(crop.shape[:2]) > size else cv2.INTER_CUBIC
    return cv2.resize(crop, (size, size), interpolation=how)


def _recoloured(view: np.ndarray, level: float, rng: Random) -> np.ndarray:
    """Change brightness, contrast, saturation (up to 80 %) and hue (up to 20 % of the circle)."""
    import cv2

    bright, contrast, colour = (1 + 0.8 * level * rng.uniform(-1, 1) for _ in range(3))
    values = view.astype(np.float32) * bright
    values = np.clip((values - values.mean()) * contrast + values.mean(), 0, 255)
    hsv = cv2.cvtColor(values.astype(np.uint8), cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + 180 * 0.2 * level * rng.uniform(-1, 1)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * colour, 0, 255)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)


def _corner_piece(
    source: SourceFile, pixels: np.ndarray, share: float, rng: Random
) -> tuple[str, np.ndarray]:
    """Cut a piece that is not all of one colour from a quarter of the picture."""
    import cv2

    height, width = (side // 2 for side in pixels.shape[:2])
    down, across = (max(8, round(side * share)) for side in (height, width))
    for _ in range(_TRIES):
        corner = rng.randrange(4)
        top = corner // 2 * height + rng.randint(0, height - down)
        left = corner % 2 * width + rng.randint(0, width - across)
        piece = pixels[top : top + down, left : left + across]
        if float(thumbnail(piece).std(axis=(0, 1)).mean()) >= _ALIKE:
            scale = max(1.0, 112 / min(down, across))
            sides = (round(across * scale), round(down * scale))
            return CORNERS[corner], cv2.resize(piece, sides, interpolation=cv2.INTER_CUBIC)
    raise left_out(source.path, "there is too little in it to know a piece of it again")
