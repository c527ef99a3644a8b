"""Object counting: how many circles, squares and triangles were pasted into a video.

After VideoSSR (arXiv 2511.06281): each kind of shape is in a few single frames, several at a time,
never two kinds in one frame, and the frames with shapes are apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_pipelines._clips import Fps, Side, open_frames, video_part
from data_pipelines._pretext import ENDING, Count, Difficulty, drawn, row, stream
from mmrl.data.folder import SourceFile, left_out
from mmrl.data.pipelines import medium_pipeline

SHAPES = ("circle", "square", "triangle")

_CORNERS = {"square": 4, "triangle": 3}
_TRIES = 200
_COLOURS = 8


@medium_pipeline("video")
def object_count(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.5,
    frames: Annotated[int, Field(ge=16, le=256)] = 48,
    size: Side = 128,
    fps: Fps = 2.0,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Count the shapes of each kind that were pasted into a video.

    Args:
        source: The video.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; the harder, the more shapes and the smaller: up to 1 (easy)
            to 4 (hard) in one frame, in up to as many frames.
        frames: Frames of the video, evenly spaced.
        size: Pixels on the shorter side; smaller videos are not enlarged.
        fps: Frames per second at which it plays; what a stage samples, so that it sees all.
        count: Questions per video.
        ending: The last words of the prompt.
    """
    shot = open_frames(source, frames, size)
    if min(shot.shape[1:3]) < 64:
        raise left_out(
            source.path, f"{min(shot.shape[1:3])} pixels on its shorter side are too few"
        )
    for number in range(count):
        rng = stream("object_count", source, seed, number)
        level = drawn(difficulty, rng)
        most = 1 + round(3 * level)
        shown = shot.copy()
        counts: dict[str, int] = dict.fromkeys(SHAPES, 0)
        for place, shape in _timetable(rng, frames, most):
            pasted = rng.randint(1, most)
            shown[place] = _with_shapes(shot[place], shape, pasted, level, rng)
            counts[shape] += pasted
        text = (
            "Plain circles, squares and triangles were pasted into single frames of this video. "
            "How many of each are there in all? Answer with the three numbers in that order, "
            "for example 2,0,5."
        )
        yield row(
            "object_count",
            source,
            number,
            seed=seed,
            parts=[video_part(folder, shown, fps), f"{text} {ending}".strip()],
            answer=",".join(str(counts[shape]) for shape in SHAPES),
            verifier="object_count",
            difficulty=level,
        )


def _timetable(rng: Random, frames: int, most: int) -> list[tuple[int, str]]:
    """Say which frames get which shape: up to `most` frames for each, all of them apart."""
    wanted = [shape for shape in SHAPES for _ in range(rng.randint(0, most))]
    wanted = wanted or [rng.choice(SHAPES)]
    rng.shuffle(wanted)
    apart = max(1, min(8, frames // len(wanted) - 1))
    spare = frames - 1 - apart * (len(wanted) - 1)
    starts = sorted(rng.randint(0, spare) for _ in wanted)
    return [
        (start + apart * index, shape)
        for index, (start, shape) in enumerate(zip(starts, wanted, strict=True))
    ]


def _with_shapes(
    frame: np.ndarray, shape: str, count: int, level: float, rng: Random
) -> np.ndarray:
    """Paste shapes that do not touch each other into the middle of a frame."""
    import cv2

    pasted = frame.copy()
    for x, y, radius in _places(frame.shape, count, level, rng):
        box = frame[int(y - radius) : int(y + radius), int(x - radius) : int(x + radius)]
        tint = _visible_colour(box.reshape(-1, 3).astype(np.int16), rng)
        if shape == "circle":
            cv2.circle(pasted, (round(x), round(y)), round(radius), tint, -1, cv2.LINE_AA)
            continue
        corners, turn = _CORNERS[shape], rng.uniform(0, 2 * math.pi)
        angles = [turn + 2 * math.pi * corner / corners for corner in range(corners)]
        points = [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
        cv2.fillPoly(pasted, [np.array(points).round().astype(np.int32)], tint, cv2.LINE_AA)
    return pasted


def _visible_colour(ground: np.ndarray, rng: Random) -> tuple[int, ...]:
    """Return that of some random colours which stands out best where it stands out least."""
    colours = [[rng.randint(50, 255) for _ in range(3)] for _ in range(_COLOURS)]
    apart = [np.quantile(np.abs(ground - colour).sum(axis=1), 0.05) for colour in colours]
    return tuple(colours[int(np.argmax(apart))])


def _places(
    shape: tuple[int, ...], count: int, level: float, rng: Random
) -> list[tuple[float, float, float]]:
    """Return centres and radii in the middle 80 % of the frame; smaller where they do not fit."""
    height, width = shape[:2]
    largest = min(height, width) * (0.19 - 0.05 * level)
    gap = 0.07 * min(height, width)  # less than that runs together when the video is encoded
    for attempt in range(_TRIES):
        radii = [largest * rng.uniform(0.75, 1.0) * 0.97**attempt for _ in range(count)]
        found = [
            (
                rng.uniform(0.1 * width + radius, 0.9 * width - radius),
                rng.uniform(0.1 * height + radius, 0.9 * height - radius),
                radius,
            )
            for radius in radii
        ]
        if all(
            math.dist(one[:2], other[:2]) > one[2] + other[2] + gap
            for index, one in enumerate(found)
            for other in found[:index]
        ):
            return found
    raise RuntimeError(f"{count} shapes do not fit into {width} x {height} pixels")
