"""The run of time in a video: how fast a clip plays, and whether it plays backwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_pipelines._clips import Fps, Side, check_motion, open_frames, video_part
from data_pipelines._pretext import ENDING, Count, Difficulty, band, drawn, row, stream
from mmrl.data.folder import SourceFile
from mmrl.data.pipelines import medium_pipeline

SPEEDS = (
    {"1": 2, "4": 8},
    {"0.5": 1, "1": 2, "2": 4, "4": 8},
    {"0.5": 2, "0.75": 3, "1": 4, "1.5": 6, "2": 8},
)
"""Speed and the frames from one that is shown to the next, from easy to hard. No frame is shown
twice: a held frame would give a slow clip away.
"""
STRIDES = (4, 3, 2, 1)
"""Frames from one that is shown to the next, from easy to hard: the less time passes, the harder
it is to see which way.
"""
NORMAL = "1"
DIRECTIONS = ("forwards", "backwards")

Frames = Annotated[int, Field(ge=4, le=64)]


@medium_pipeline("video")
def video_speed(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.5,
    frames: Frames = 8,
    size: Side = 128,
    fps: Fps = 2.0,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Say how many times faster one clip of a video plays than another.

    Args:
        source: The video.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; chooses among how many speeds, and how near to each other.
        frames: Frames per clip, whatever its speed.
        size: Pixels on the shorter side; smaller videos are not enlarged.
        fps: Frames per second at which all clips play; what a stage samples, so that it sees all.
        count: Questions per video.
        ending: The last words of the prompt.
    """
    shots: dict[int, np.ndarray] = {}
    for number in range(count):
        rng = stream("video_speed", source, seed, number)
        level = drawn(difficulty, rng)
        strides = SPEEDS[band(level, len(SPEEDS))]
        answer = rng.choice(list(strides))
        reach = frames * max(strides.values()) + 8
        if reach not in shots:
            shots[reach] = open_frames(source, reach, size)
        shot = shots[reach]
        parts: list[Any] = []
        for place, speed in enumerate((NORMAL, answer), start=1):
            start = rng.randint(0, len(shot) - frames * strides[speed])
            clip = shot[start :: strides[speed]][:frames]
            check_motion(source, [clip[0], clip[-1]], "moments")
            parts += [f"Clip {place}:", video_part(folder, clip, fps)]
        text = (
            "Both clips are from one video; the first plays at a speed of 1. At which speed does "
            f"the second play: {', '.join(strides)}? Answer with the number alone."
        )
        yield row(
            "video_speed",
            source,
            number,
            seed=seed,
            parts=[*parts, f"{text} {ending}".strip()],
            answer=answer,
            verifier="number",
            difficulty=level,
        )


@medium_pipeline("video")
def video_reversal(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.3,
    frames: Frames = 12,
    size: Side = 128,
    fps: Fps = 2.0,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Say whether a clip plays forwards or backwards.

    Args:
        source: The video.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; the harder, the less time passes in the clip.
        frames: Frames of the clip.
        size: Pixels on the shorter side; smaller videos are not enlarged.
        fps: Frames per second at which all clips play; what a stage samples, so that it sees all.
        count: Questions per video.
        ending: The last words of the prompt.
    """
    shot = open_frames(source, frames * STRIDES[0], size)
    for number in range(count):
        rng = stream("video_reversal", source, seed, number)
        level = drawn(difficulty, rng)
        stride = STRIDES[band(level, len(STRIDES))]
        answer = rng.choice(DIRECTIONS)
        start = rng.randint(0, len(shot) - frames * stride)
        clip = shot[start::stride][:frames]
        check_motion(source, [clip[0], clip[-1]], "moments")
        shown = clip if answer == DIRECTIONS[0] else clip[::-1]
        text = f"Does this clip play {' or '.join(DIRECTIONS)}? Answer with one word."
        yield row(
            "video_reversal",
            source,
            number,
            seed=seed,
            parts=[video_part(folder, shown, fps), f"{text} {ending}".strip()],
            answer=answer,
            verifier="exact",
            difficulty=level,
        )
