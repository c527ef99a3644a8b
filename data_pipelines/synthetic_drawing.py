"""Shapes, colours, scenes and tones of which the synthetic tasks are made; no pipeline.

Everything is drawn at four times its size and averaged down, and every picture carries a little
grain from its own random stream, so no two pictures are alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {
    "red": (215, 35, 35),
    "green": (35, 165, 55),
    "blue": (40, 70, 215),
    "yellow": (235, 205, 35),
    "purple": (135, 45, 165),
    "orange": (240, 130, 25),
    "black": (25, 25, 25),
    "pink": (245, 130, 180),
}
SHAPES = ("circle", "square", "triangle", "cross", "star", "ring")

SUPERSAMPLING = 4

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Canvas:
    """A square picture in the making, on light grey paper; coordinates are in final pixels."""

    def __init__(self, size: int, paper: Colour) -> None:
        """Start an empty picture of `size` by `size` pixels."""
        self.size = size
        side = size * SUPERSAMPLING
        self._image = Image.new("RGB", (side, side), paper)
        self._draw = ImageDraw.Draw(self._image)

    def shape(
        self, name: str, centre: Point, radius: float, colour: Colour, *, turn: float = 0.0
    ) -> None:
        """Draw a shape that reaches `radius` pixels from its centre; `turn` is in degrees."""
        x, y = (value * SUPERSAMPLING for value in centre)
        r = radius * SUPERSAMPLING
        if name in ("circle", "ring"):
            self._ellipse((x, y), r, colour if name == "circle" else None, colour)
            return
        points = [_turned(point, turn) for point in _OUTLINES[name]]
        self._draw.polygon([(x + r * px, y + r * py) for px, py in points], fill=colour)

    def rectangle(
        self, left: float, top: float, right: float, bottom: float, colour: Colour
    ) -> None:
        """Fill a rectangle."""
        box = [value * SUPERSAMPLING for value in (left, top, right, bottom)]
        self._draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=colour)

    def pixels(self, rng: Random, *, grain: int) -> np.ndarray:
        """Return uint8 pixels [size, size, 3] with noise of up to `grain` levels either way."""
        small = np.asarray(self._image.reduce(SUPERSAMPLING), dtype=np.int16)
        return add_grain(small, rng, grain=grain)

    def _ellipse(self, centre: Point, radius: float, fill: Colour | None, outline: Colour) -> None:
        x, y = centre
        box = (x - radius, y - radius, x + radius - 1, y + radius - 1)
        self._draw.ellipse(box, fill=fill, outline=outline, width=max(1, round(radius * 0.4)))


def add_grain(pixels: np.ndarray, rng: Random, *, grain: int) -> np.ndarray:
    """Return uint8 pixels with uniform noise of up to `grain` levels either way."""
    noise = np.frombuffer(rng.randbytes(pixels.size), np.uint8).reshape(pixels.shape)
    return np.clip(pixels + (noise % (2 * grain + 1)).astype(np.int16) - grain, 0, 255).astype(
        np.uint8
    )


def jittered(colour: Colour, rng: Random, *, spread: int) -> Colour:
    """Return a colour that differs from the named one by up to `spread` levels per channel."""
    red, green, blue = (min(255, max(0, level + rng.randint(-spread, spread))) for level in colour)
    return red, green, blue


def colours(difficulty: float) -> list[str]:
    """Name the colours in play: 3 (easy) to 8."""
    return list(COLOURS)[: 3 + round(5 * difficulty)]


def paper(rng: Random) -> Colour:
    """Return a light grey."""
    level = rng.randint(225, 250)
    return level, level, level


def landscape(size: int, rng: Random, *, clutter: float) -> np.ndarray:
    """Draw a scene with one right way up: sky over grass, sun on the left, a house on the right.

    Args:
        size: Pixels per side.
        rng: The picture's random stream.
        clutter: 0 to 1: how far the parts wander, and how much grain lies over them.
    """
    wander = 0.02 + 0.06 * clutter

    def near(share: float) -> float:
        return size * (share + rng.uniform(-wander, wander))

    canvas = Canvas(size, jittered((150, 200, 245), rng, spread=12))
    horizon = near(0.56)
    canvas.rectangle(0, horizon, size, size, jittered((70, 150, 60), rng, spread=14))
    canvas.shape(
        "circle", (near(0.24), near(0.22)), size * 0.13, jittered((250, 215, 50), rng, spread=12)
    )
    left, base, wide = near(0.62), near(0.78), size * 0.26
    canvas.rectangle(left, base - wide, left + wide, base, jittered((170, 90, 60), rng, spread=16))
    roof = (left + wide / 2, base - wide - size * 0.04)
    canvas.shape("triangle", roof, size * 0.19, jittered((120, 30, 35), rng, spread=16))
    canvas.shape(
        "circle", (near(0.22), near(0.84)), size * 0.06, jittered((235, 90, 160), rng, spread=16)
    )
    return canvas.pixels(rng, grain=2 + round(10 * clutter))


def tone(
    frequency: float, seconds: float, rng: Random, *, sampling_rate: int, loudness: float = 0.5
) -> np.ndarray:
    """Return a tone with two random overtones and soft ends; float64 samples below 1."""
    times = np.arange(round(seconds * sampling_rate)) / sampling_rate
    wave = np.zeros(len(times))
    for harmonic, strength in ((1, 1.0), (2, rng.uniform(0, 0.3)), (3, rng.uniform(0, 0.15))):
        wave += strength * np.sin(2 * math.pi * (harmonic * frequency * times + rng.random()))
    edge = np.minimum(1.0, np.minimum(times, seconds - times) / 0.02)
    return loudness * wave * np.clip(edge, 0, 1) / 1.45


def hiss(samples: np.ndarray, rng: Random, *, level: float) -> np.ndarray:
    """Return the samples with white noise of that amplitude, cut to the range -1 to 1."""
    noise = np.frombuffer(rng.randbytes(2 * len(samples)), np.uint16) / 32767.5 - 1
    return np.clip(samples + level * noise, -1, 1)


def _turned(point: Point, degrees: float) -> Point:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return point[0] * cosine - point[1] * sine, point[0] * sine + point[1] * cosine


def _star() -> Sequence[Point]:
    spikes = range(10)
    return [_turned((0.0, -1.0 if spike % 2 == 0 else -0.42), 36 * spike) for spike in spikes]


_OUTLINES: dict[str, Sequence[Point]] = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0.0, -1.0), (0.95, 0.8), (-0.95, 0.8)],
    "cross": [
        (-0.3, -1.0), (0.3, -1.0), (0.3, -0.3), (1.0, -0.3), (1.0, 0.3), (0.3, 0.3),
        (0.3, 1.0), (-0.3, 1.0), (-0.3, 0.3), (-1.0, 0.3), (-1.0, -0.3), (-0.3, -0.3),
    ],
    "star": _star(),
}  # fmt: skip
