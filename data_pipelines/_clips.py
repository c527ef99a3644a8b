"""Videos in and out, for the questions that are made of videos; no pipeline.

All clips of all rows play at the same rate and are written with every frame coded by itself and in
the same way: neither seams nor sizes tell in which order the frames came.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_pipelines._pictures import thumbnail, unlikeness
from data_pipelines._pretext import LIMITS, store
from mmrl.data.folder import SourceFile, left_out
from mmrl.media.video import decode_video
from mmrl.media.writers import write_mp4
from mmrl.types import Medium

Side = Annotated[int, Field(ge=32, le=1080, multiple_of=2)]
Fps = Annotated[float, Field(gt=0, le=60)]

TRIM = 0.05
"""Share of a video that is left off at each end, where titles and fades are."""
STILL = 1.0
"""Levels of 256: what differs by less does not move."""


def open_frames(source: SourceFile, count: int, shorter_side: int) -> np.ndarray:
    """Return `count` frames [T, height, width, 3], evenly spaced over all but the ends of a video.

    Raises:
        DataError: the file cannot be decoded, is over a limit, or has too few frames.
    """
    wanted = math.ceil(count / (1 - 2 * TRIM) / 2) * 2
    config = LIMITS.model_copy(
        update={
            "video_decoder": "pyav",
            "video_fps": 1000.0,
            "video_min_frames": wanted,
            "video_max_frames": wanted,
        }
    )
    medium = Medium(kind="video", source=source.path)
    frames = decode_video(medium, config, "", shorter_side=shorter_side).frames_THWC
    if len(frames) < wanted:
        raise left_out(source.path, f"it has {len(frames)} frames, {wanted} are needed")
    start = (wanted - count) // 2
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    if min(height, width) < 16:
        raise left_out(source.path, f"{width} x {height} pixels are too few")
    return frames[start : start + count, :height, :width]


def video_part(folder: Path, frames: np.ndarray, fps: float) -> dict[str, Any]:
    """Write frames as MP4; return the part of a prompt that shows them."""
    file = io.BytesIO()
    write_mp4(file, frames, fps=fps, frames_alone=True)
    return {"type": "video", "video": store(folder, file.getvalue(), "mp4")}


def check_motion(source: SourceFile, moments: Sequence[np.ndarray], what: str) -> None:
    """Refuse a video in which two moments that the question tells apart look the same.

    Args:
        source: The file.
        moments: Frames or clips, in the order of time.
        what: What they are called in the message.

    Raises:
        DataError: two that follow each other differ by less than STILL.
    """
    looks = [_look(moment) for moment in moments]
    for one, other in itertools.pairwise(looks):
        if unlikeness(one, other) < STILL:
            raise left_out(source.path, f"it moves so little that its {what} look alike")


def _look(moment: np.ndarray) -> np.ndarray:
    if moment.ndim == 3:
        return thumbnail(moment)
    return np.mean([thumbnail(frame) for frame in moment], axis=0)
