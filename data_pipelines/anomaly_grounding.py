"""Anomaly grounding: in which seconds of a video something was done to its pictures.

After VideoSSR (arXiv 2511.06281): a segment of 8 to 16 out of 48 frames is disturbed in one of
twelve ways; its training uses four of them, which are the default here. Left out are slow and fast
motion, which need frames between those that are sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from data_pipelines._clips import Fps, Side, open_frames, video_part
from data_pipelines._pretext import ENDING, Count, Difficulty, drawn, row, stream
from mmrl.data.folder import SourceFile, left_out
from mmrl.data.pipelines import medium_pipeline

Kind = Literal[
    "channel_swap",
    "mirror",
    "zoom_out",
    "rotate_180",
    "zoom_in",
    "saturation",
    "noise",
    "blur",
    "grayscale",
    "invert",
    "stutter",
    "shuffle",
]

TRAINED: tuple[Kind, ...] = ("channel_swap", "mirror", "zoom_out", "rotate_180")
"""What VideoSSR trains on."""

_SEEN = 2.0
"""Levels of 256 by which a disturbed segment must differ from what it was, on average."""


@medium_pipeline("video")
def anomaly_grounding(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.5,
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = TRAINED,
    frames: Annotated[int, Field(ge=16, le=256)] = 48,
    size: Side = 128,
    fps: Fps = 2.0,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Say from which second to which a video was disturbed.

    Args:
        source: The video.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; the harder, the shorter the segment: a third to a sixth.
        kinds: Out of which ways to disturb it one is drawn.
        frames: Frames of the video, evenly spaced.
        size: Pixels on the shorter side; smaller videos are not enlarged.
        fps: Frames per second at which it plays; what a stage samples, so that it sees all.
        count: Questions per video.
        ending: The last words of the prompt.
    """
    shot = open_frames(source, frames, size)
    for number in range(count):
        rng = stream("anomaly_grounding", source, seed, number)
        level = drawn(difficulty, rng)
        length = round(frames * (1 / 3 - level / 6))
        start = rng.randint(0, frames - length)
        kind, segment = _disturbed(source, shot[start : start + length], kinds, rng)
        shown = np.concatenate([shot[:start], segment, shot[start + length :]])
        text = (
            f"In a segment of this video, {_DESCRIPTIONS[kind]}. From when to when, in seconds? "
            "Answer with start-end, for example 14.5-26.2."
        )
        yield row(
            "anomaly_grounding",
            source,
            number,
            seed=seed,
            parts=[video_part(folder, shown, fps), f"{text} {ending}".strip()],
            answer=f"{start / fps:.2f}-{(start + length) / fps:.2f}",
            verifier="anomaly_grounding",
            difficulty=level,
            extra={"kind": kind},
        )


def _disturbed(
    source: SourceFile, segment: np.ndarray, kinds: Sequence[Kind], rng: Random
) -> tuple[Kind, np.ndarray]:
    """Disturb the segment in the first of the ways, in random order, that can be seen in it."""
    for kind in rng.sample(kinds, len(kinds)):
        changed = _WAYS[kind](segment, rng)
        if float(np.abs(changed.astype(np.int16) - segment).mean()) >= _SEEN:
            return kind, changed
    raise left_out(source.path, f"none of {', '.join(kinds)} can be seen in it")


def _channel_swap(segment: np.ndarray, rng: Random) -> np.ndarray:
    return segment[..., ::-1]


def _mirror(segment: np.ndarray, rng: Random) -> np.ndarray:
    return segment[:, :, ::-1]


def _rotate_180(segment: np.ndarray, rng: Random) -> np.ndarray:
    return segment[:, ::-1, ::-1]


def _zoom_out(segment: np.ndarray, rng: Random) -> np.ndarray:
    return _zoomed(segment, 1 / rng.uniform(1.2, 1.4))


def _zoom_in(segment: np.ndarray, rng: Random) -> np.ndarray:
    return _zoomed(segment, rng.uniform(1.3, 1.5))


def _zoomed(segment: np.ndarray, scale: float) -> np.ndarray:
    """Enlarge or shrink about the middle; what is beyond the picture is black."""
    import cv2

    height, width = segment.shape[1:3]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, scale)
    return np.stack([cv2.warpAffine(frame, matrix, (width, height)) for frame in segment])


def _saturation(segment: np.ndarray, rng: Random) -> np.ndarray:
    grey = segment.mean(axis=-1, keepdims=True)
    return np.clip(grey + 2.0 * (segment - grey), 0, 255).astype(np.uint8)


def _noise(segment: np.ndarray, rng: Random) -> np.ndarray:
    # From bytes, so that the same seed gives the same noise with every version of NumPy.
    flat = np.frombuffer(rng.randbytes(2 * segment.size), np.uint8).astype(np.float32)
    one, other = flat.reshape(2, *segment.shape)
    spread = rng.uniform(35, 70) / 104.5  # the deviation of the sum of two uniform bytes
    return np.clip(segment + (one + other - 255) * spread, 0, 255).astype(np.uint8)


def _blur(segment: np.ndarray, rng: Random) -> np.ndarray:
    import cv2

    return np.stack([cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in segment])


def _grayscale(segment: np.ndarray, rng: Random) -> np.ndarray:
    grey = segment @ np.array([0.299, 0.587, 0.114])
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=-1)


def _invert(segment: np.ndarray, rng: Random) -> np.ndarray:
    return 255 - segment


def _stutter(segment: np.ndarray, rng: Random) -> np.ndarray:
    held = rng.randint(2, 5)
    return segment[np.arange(len(segment)) // held * held]


def _shuffle(segment: np.ndarray, rng: Random) -> np.ndarray:
    return segment[rng.sample(range(len(segment)), len(segment))]


_WAYS: dict[Kind, Callable[[np.ndarray, Random], np.ndarray]] = {
    "channel_swap": _channel_swap,
    "mirror": _mirror,
    "zoom_out": _zoom_out,
    "rotate_180": _rotate_180,
    "zoom_in": _zoom_in,
    "saturation": _saturation,
    "noise": _noise,
    "blur": _blur,
    "grayscale": _grayscale,
    "invert": _invert,
    "stutter": _stutter,
    "shuffle": _shuffle,
}
_DESCRIPTIONS: dict[Kind, str] = {
    "channel_swap": "red and blue were exchanged",
    "mirror": "the picture was mirrored from left to right",
    "zoom_out": "the picture was shrunk, with black around it",
    "rotate_180": "the picture was turned upside down",
    "zoom_in": "the picture was enlarged",
    "saturation": "the colours were made stronger",
    "noise": "the picture was made noisy",
    "blur": "the picture was blurred",
    "grayscale": "the colours were taken away",
    "invert": "the colours were inverted",
    "stutter": "frames were held so that the motion stutters",
    "shuffle": "the frames were shuffled",
}
