"""Order in time: clips of a video, or single frames of it, that were shuffled.

`temporal_jigsaw` after VideoSSR (arXiv 2511.06281) and Visual Jigsaw (arXiv 2509.25190); the answer
names the shown clips in the order in which they happened, one digit each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_pipelines._clips import Fps, Side, check_motion, open_frames, video_part
from data_pipelines._pictures import image_part
from data_pipelines._pretext import ENDING, Count, Difficulty, Share, band, drawn, row, stream
from mmrl.data.folder import SourceFile
from mmrl.data.pipelines import medium_pipeline

PIECES = (3, 4, 5, 6, 7, 8)
"""Clips or frames, from easy to hard."""

Pieces = Annotated[int, Field(ge=2, le=9)]


@medium_pipeline("video")
def temporal_jigsaw(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.5,
    clips: Pieces | None = None,
    frames: Annotated[int, Field(ge=2, le=64)] = 8,
    size: Side = 128,
    fps: Fps = 2.0,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Put the clips into which a video was cut back in order.

    Args:
        source: The video.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; chooses the number of clips, 3 to 8.
        clips: The number of clips, instead of what the difficulty chooses; the rows' difficulty
            then follows from it.
        frames: Frames per clip, evenly spaced in the video.
        size: Pixels on the shorter side; smaller videos are not enlarged.
        fps: Frames per second at which all clips play; what a stage samples, so that it sees all.
        count: Questions per video.
        ending: The last words of the prompt.
    """
    shots: dict[int, np.ndarray] = {}
    for number in range(count):
        rng = stream("temporal_jigsaw", source, seed, number)
        level, pieces = _pieces(drawn(difficulty, rng), clips)
        if pieces not in shots:
            shots[pieces] = open_frames(source, pieces * frames, size)
        shot = shots[pieces]
        cut = [shot[start : start + frames] for start in range(0, len(shot), frames)]
        check_motion(source, cut, "clips")
        order = rng.sample(range(pieces), pieces)
        parts: list[Any] = []
        for place, origin in enumerate(order, start=1):
            parts += [f"Clip {place}:", video_part(folder, cut[origin], fps)]
        text = (
            "These clips are one video, cut up and shuffled. Write the numbers of the clips in "
            f"the order in which they happened, as {pieces} digits without blanks."
        )
        yield row(
            "temporal_jigsaw",
            source,
            number,
            seed=seed,
            parts=[*parts, f"{text} {ending}".strip()],
            answer="".join(str(order.index(origin) + 1) for origin in range(pieces)),
            verifier="temporal_jigsaw",
            difficulty=level,
        )


@medium_pipeline("video")
def frame_order(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.3,
    frames: Pieces | None = None,
    partial: Share = 0.2,
    size: Side = 224,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Put single frames of a video in the order of time.

    Args:
        source: The video.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; chooses the number of frames, 3 to 8.
        frames: The number of frames, instead of what the difficulty chooses; the rows' difficulty
            then follows from it.
        partial: Credit for another order, times the share of right places.
        size: Pixels on the shorter side; smaller videos are not enlarged.
        count: Questions per video.
        ending: The last words of the prompt.
    """
    shots: dict[int, np.ndarray] = {}
    for number in range(count):
        rng = stream("frame_order", source, seed, number)
        level, pieces = _pieces(drawn(difficulty, rng), frames)
        if pieces not in shots:
            shots[pieces] = open_frames(source, pieces, size)
        shot = shots[pieces]
        check_motion(source, list(shot), "frames")
        order = rng.sample(range(pieces), pieces)
        parts: list[Any] = []
        for place, origin in enumerate(order, start=1):
            parts += [f"Picture {place}:", image_part(folder, shot[origin])]
        text = (
            "These pictures are moments of one video, shuffled. Write their numbers in the order "
            "in which they were taken, with blanks between."
        )
        yield row(
            "frame_order",
            source,
            number,
            seed=seed,
            parts=[*parts, f"{text} {ending}".strip()],
            answer=" ".join(str(order.index(origin) + 1) for origin in range(pieces)),
            verifier="permutation",
            params={"partial": partial},
            difficulty=level,
        )


def _pieces(level: float, given: int | None) -> tuple[float, int]:
    """Return the difficulty of a row and its number of pieces; one follows from the other."""
    if given is None:
        return level, PIECES[band(level, len(PIECES))]
    nearest = min(max(given, PIECES[0]), PIECES[-1])
    return round((PIECES.index(nearest) + 0.5) / len(PIECES), 2), given
