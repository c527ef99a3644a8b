"""How many tokens and patches a medium becomes, by the media settings of a stage and the rules of
the family's processor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from mmrl.config.schema import MediaConfig
from mmrl.errors import ConfigError
from mmrl.media.video import frame_count
from mmrl.plan.dimensions import Audio, Dimensions, Vision

_MARKS = 2
"""Tokens that say where a medium begins and ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What a medium is to its encoder and to the decoder."""

    tokens: int
    """In the prompt, with the marks around it."""
    units: int
    """Patches, or positions of a sound."""
    parts: int = 1
    """Pictures, frame pairs, tiles or windows of sound that do not see each other."""

    @property
    def part(self) -> float:
        """Units that see each other, in layers without a smaller window."""
        return self.units / self.parts


def show_image(model: Dimensions, media: MediaConfig, *, width: int, height: int) -> Shown:
    """A picture of so many pixels on its sides.

    Raises:
        ConfigError: the family has no pictures.
    """
    vision = _vision(model, "image")
    if vision.tile and vision.pooled_tiles:
        return _pooled_tiles(vision, *_within(width, height, media))
    if vision.tile:
        return _tiles(vision, width, height, media)
    wide, high = _resize(
        width, height, vision, low=media.image_min_pixels, high=media.image_max_pixels
    )
    return _patches(vision, wide, high, frames=1)


def show_video(
    model: Dimensions, media: MediaConfig, *, width: int, height: int, seconds: float
) -> Shown:
    """A video, sampled as the stage samples it.

    Raises:
        ConfigError: the family has no videos.
    """
    vision = _vision(model, "video")
    frames = frame_count(10**9, seconds, media)
    if vision.tile:
        side = vision.tile // vision.patch
        tokens = frames * math.ceil(side / (vision.merge if vision.merge > 1 else 2)) ** 2
        return Shown(tokens=tokens + _MARKS, units=frames * side**2, parts=frames)
    wide, high = _resize(
        width, height, vision, low=media.video_min_pixels, high=media.video_max_pixels
    )
    return _patches(vision, wide, high, frames=math.ceil(frames / 2))


def show_sound(model: Dimensions, *, seconds: float) -> Shown:
    """A sound: 50 positions and 25 tokens a second.

    Raises:
        ConfigError: the family has no sounds.
    """
    audio = model.audio
    if audio is None:
        raise ConfigError(f"--audio: {model.family} reads no sounds")
    if not audio.window:
        # a window of full length is padded to, whatever the sound's length
        tokens = min(round(seconds * 25), audio.positions // 2)
        return Shown(tokens=tokens + _MARKS, units=audio.positions)
    positions = round(seconds * 50)
    return Shown(
        tokens=positions // 2 + _MARKS,
        units=positions,
        parts=max(1, math.ceil(positions / audio.window)),
    )


def default_medium(model: Dimensions, media: MediaConfig) -> Shown:
    """The largest picture that the settings let through; ten seconds of sound for a family without
    pictures.
    """
    if model.vision is None:
        return show_sound(model, seconds=10)
    side = math.isqrt(media.image_max_pixels)
    return show_image(model, media, width=side, height=side)


def seen_pairs(shown: Shown, tower: Vision | Audio) -> float:
    """Pairs of units that attend to each other, over all layers of the tower."""
    if isinstance(tower, Vision) and tower.window:
        window = min((tower.window // tower.patch) ** 2, shown.part)
        narrow = tower.depth - tower.full_layers
        return shown.units * (tower.full_layers * shown.part + narrow * window)
    return shown.units * tower.depth * shown.part


def _vision(model: Dimensions, what: str) -> Vision:
    if model.vision is None:
        raise ConfigError(f"--{what}: {model.family} reads no {what}s")
    return model.vision


def _patches(vision: Vision, wide: int, high: int, *, frames: int) -> Shown:
    units = frames * (wide // vision.patch) * (high // vision.patch)
    return Shown(tokens=units // vision.merge**2 + _MARKS, units=units, parts=frames)


def _resize(width: int, height: int, vision: Vision, *, low: float, high: float) -> tuple[int, int]:
    """Sides that are whole tokens, with a number of pixels within the limits."""
    side = vision.patch * vision.merge
    wide, tall = round(width / side) * side, round(height / side) * side
    if wide * tall > high:
        scale = math.sqrt(width * height / high)
        fitted = (math.floor(size / scale / side) * side for size in (width, height))
        wide, tall = (max(side, size) for size in fitted)
    elif wide * tall < low:
        scale = math.sqrt(low / (width * height))
        wide, tall = (math.ceil(size * scale / side) * side for size in (width, height))
    return wide, tall


def _within(width: int, height: int, media: MediaConfig) -> tuple[int, int]:
    wanted = min(max(width * height, media.image_min_pixels), media.image_max_pixels)
    if wanted == width * height:
        return width, height
    scale = math.sqrt(wanted / (width * height))
    to_whole = math.floor if scale < 1 else math.ceil
    return max(1, to_whole(width * scale)), max(1, to_whole(height * scale))


def _tiles(vision: Vision, width: int, height: int, media: MediaConfig) -> Shown:
    """SmolVLM's: the picture at its longest edge in whole tiles, and the whole of it as one more.

    A tile is told apart by two tokens, and a row of them ends with one.
    """
    most = min(vision.most_tiles, math.isqrt(media.image_max_pixels) // vision.tile)
    longest = max(1, most)
    columns = longest if width >= height else math.ceil(longest * width / height)
    rows = longest if height >= width else math.ceil(longest * height / width)
    tiles = rows * columns + 1 if rows * columns > 1 else 1
    side = vision.tile // vision.patch
    tokens = tiles * ((side // vision.merge) ** 2 + 2) + (rows if tiles > 1 else 0)
    return Shown(tokens=tokens + _MARKS, units=tiles * side**2, parts=tiles)


def _pooled_tiles(vision: Vision, width: int, height: int) -> Shown:
    """LLaVA-OneVision's: the grid of tiles that suits the picture, without what was padded, pooled
    where it is large, and the whole picture as one more; every row of features ends with one more.
    """
    side = vision.tile // vision.patch
    counts = range(1, vision.most_tiles + 1)
    rows, columns = max(
        product(counts, counts), key=lambda grid: _suits(vision, grid, width, height)
    )
    high, wide = rows * side, columns * side
    if width / height > wide / high:
        high -= (high - round(height * wide / width)) // 2 * 2
    else:
        wide -= (wide - round(width * high / height)) // 2 * 2
    ratio = math.sqrt(high * wide / (vision.pooled_tiles * side**2))
    if ratio > 1.1:
        high, wide = int(high // ratio), int(wide // ratio)
    tiles = rows * columns + 1
    return Shown(tokens=side**2 + high * (wide + 1) + _MARKS, units=tiles * side**2, parts=tiles)


def _suits(vision: Vision, grid: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    high, wide = (count * vision.tile for count in grid)
    scale = min(wide / width, high / height)
    used = min(int(width * scale) * int(height * scale), width * height)
    return used, used - wide * high
