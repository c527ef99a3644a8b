"""The run of time in a sound: the order of its pieces, its direction, and where it was spliced."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_pipelines._pretext import ENDING, Count, Difficulty, band, drawn, row, stream
from data_pipelines._sounds import (
    FADE_S,
    Rate,
    Seconds,
    audio_part,
    check_loud,
    excerpt,
    faded,
    open_sound,
    rms,
    unlikeness,
)
from mmrl.data.folder import SourceFile, left_out
from mmrl.data.pipelines import medium_pipeline
from mmrl.errors import DataError

PIECES = (2, 3, 4, 5, 6)
"""Pieces, from easy to hard."""
DIRECTIONS = ("forwards", "backwards")

_ALIKE_DB = 0.5
"""What differs by less, on average over time and pitch, sounds the same."""
_SPLICE_DB = 3.0
"""By how much the sound must change where it was spliced."""
_LOST_S = 0.03
"""What is left out between two pieces, so that their waves do not continue each other."""
_PAUSE_S = 0.3
_SHORTEST_S = 0.25
_TRIES = 8


@medium_pipeline("audio")
def audio_order(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.3,
    pieces: Annotated[int, Field(ge=2, le=9)] | None = None,
    seconds: Seconds = 1.5,
    rate: Rate = 16_000,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Put the pieces into which a sound was cut back in order.

    Args:
        source: The sound.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; chooses the number of pieces, 2 to 6.
        pieces: The number of pieces, instead of what the difficulty chooses; the rows' difficulty
            then follows from it.
        seconds: Length of a piece; less where the sound is too short for it, a quarter of a second
            at least.
        rate: Samples per second.
        count: Questions per sound.
        ending: The last words of the prompt.
    """
    samples = open_sound(source, rate)
    for number in range(count):
        rng = stream("audio_order", source, seed, number)
        level = drawn(difficulty, rng)
        parts = pieces or PIECES[band(level, len(PIECES))]
        if pieces is not None:
            nearest = min(max(pieces, PIECES[0]), PIECES[-1])
            level = round((PIECES.index(nearest) + 0.5) / len(PIECES), 2)
        cut = _pieces(source, samples, parts, seconds, rate, rng)
        order = rng.sample(range(parts), parts)
        pause = np.zeros(round(_PAUSE_S * rate), np.float32)
        shown = [piece for origin in order for piece in (cut[origin], pause)][:-1]
        text = (
            f"A recording was cut into {parts} pieces, which are played in another order with "
            "pauses between. Write the numbers of the pieces, counted as they are played, in the "
            f"order in which they were recorded, as {parts} digits without blanks."
        )
        yield row(
            "audio_order",
            source,
            number,
            seed=seed,
            parts=[audio_part(folder, np.concatenate(shown), rate), f"{text} {ending}".strip()],
            answer="".join(str(order.index(origin) + 1) for origin in range(parts)),
            verifier="audio_order",
            difficulty=level,
        )


@medium_pipeline("audio")
def audio_reversal(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.3,
    seconds: Seconds | None = None,
    rate: Rate = 16_000,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Say whether a sound is played forwards or backwards.

    Args:
        source: The sound.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; the harder, the shorter: 6 seconds to 1, or all of a sound
            that is shorter.
        seconds: The length, instead of what the difficulty chooses.
        rate: Samples per second.
        count: Questions per sound.
        ending: The last words of the prompt.
    """
    samples = open_sound(source, rate)
    for number in range(count):
        rng = stream("audio_reversal", source, seed, number)
        level = drawn(difficulty, rng)
        wanted = seconds or 6 - 5 * level
        played = excerpt(source, samples, rate, _possible(samples, rate, wanted), rng)
        if unlikeness(played, played[::-1]) < _ALIKE_DB:
            raise left_out(source.path, "it sounds the same backwards")
        answer = rng.choice(DIRECTIONS)
        shown = faded(played if answer == DIRECTIONS[0] else played[::-1], rate)
        text = f"Is this recording played {' or '.join(DIRECTIONS)}? Answer with one word."
        yield row(
            "audio_reversal",
            source,
            number,
            seed=seed,
            parts=[audio_part(folder, shown, rate), f"{text} {ending}".strip()],
            answer=answer,
            verifier="audio_reversal",
            difficulty=level,
        )


@medium_pipeline("audio")
def splice_point(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.3,
    seconds: Seconds = 6.0,
    rate: Rate = 16_000,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Say after how many seconds one recording goes over into another.

    Args:
        source: The sound.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; up to 0.5 the second part is from another file, above that
            from another place of the same one.
        seconds: Length of the whole; less where the sounds are too short for it.
        rate: Samples per second.
        count: Questions per sound.
        ending: The last words of the prompt.
    """
    samples = open_sound(source, rate)
    for number in range(count):
        rng = stream("splice_point", source, seed, number)
        level = drawn(difficulty, rng)
        shown, moment = _spliced(source, samples, level, seconds, rate, rng)
        text = (
            "At one moment this recording goes over into another one. After how many seconds? "
            "Answer with a number with two decimals."
        )
        yield row(
            "splice_point",
            source,
            number,
            seed=seed,
            parts=[audio_part(folder, shown, rate), f"{text} {ending}".strip()],
            answer=f"{moment:.2f}",
            verifier="regression",
            difficulty=level,
        )


def _possible(samples: np.ndarray, rate: int, wanted: float) -> float:
    """Return the length that is wanted, or nearly all that there is, a quarter second at least."""
    return max(min(wanted, 0.95 * len(samples) / rate), _SHORTEST_S)


def _pieces(
    source: SourceFile, samples: np.ndarray, parts: int, seconds: float, rate: int, rng: Random
) -> list[np.ndarray]:
    """Cut an excerpt into equal pieces that can be told apart by ear."""
    lost = round(_LOST_S * rate)
    room = len(samples) / rate / parts - _LOST_S
    each = round(max(min(seconds, 0.98 * room), _SHORTEST_S) * rate)
    whole = excerpt(source, samples, rate, parts * (each + lost) / rate, rng)
    cut = [whole[start : start + each] for start in range(0, parts * (each + lost), each + lost)]
    for piece in cut:
        check_loud(source, piece)
    if any(unlikeness(one, other) < _ALIKE_DB for one, other in itertools.combinations(cut, 2)):
        raise left_out(source.path, f"two of its {parts} pieces sound alike")
    return [faded(piece, rate) for piece in cut]


def _spliced(
    source: SourceFile,
    samples: np.ndarray,
    level: float,
    seconds: float,
    rate: int,
    rng: Random,
) -> tuple[np.ndarray, float]:
    """Join two parts of equal loudness by a short crossfade; return the whole and the moment."""
    same = level > 0.5
    if same:
        middle = len(samples) // 2
        halves = [samples[:middle], samples[middle:]]
        first, second = rng.sample(halves, 2)
    else:
        first, second = samples, _other_sound(source, rate)
    length = round(_possible(min(first, second, key=len), rate, seconds) * rate)
    fade = round(FADE_S * rate)
    for _ in range(_TRIES):
        at = round(rng.uniform(0.2, 0.8) * length / rate, 2)
        place = round(at * rate)
        one = excerpt(source, first, rate, length / rate, rng)[:place]
        other = excerpt(source, second, rate, length / rate, rng)[place - fade :]
        beside = min(place, length - place, rate // 2)
        if min(rms(one[-beside:]), rms(other[:beside])) < 0.1 * min(rms(one), rms(other)):
            continue
        other = other * (rms(one[-beside:]) / max(rms(other[:beside]), 1e-6))
        if unlikeness(one[-beside:], other[:beside]) >= _SPLICE_DB:
            return faded(_joined(one, other, fade), rate), at
    where = "its two halves" if same else "it and the sound that follows it"
    raise left_out(source.path, f"{where} sound too much alike for a splice")


def _joined(one: np.ndarray, other: np.ndarray, fade: int) -> np.ndarray:
    """Let the last samples of one sound fade into the first ones of the other."""
    ramp = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32))
    both = one[-fade:] * ramp[::-1] + other[:fade] * ramp
    return np.concatenate([one[:-fade], both, other[fade:]])


def _other_sound(source: SourceFile, rate: int) -> np.ndarray:
    """Return the next sound of the folder that can be decoded and is long enough."""
    for path in source.peers:
        try:
            found = open_sound(SourceFile(kind="audio", path=path, name=path.name), rate)
        except DataError:
            # It is named when its own rows are made.
            continue
        if len(found) >= 2 * _SHORTEST_S * rate:
            return found
    raise left_out(
        source.path, f"none of the {len(source.peers)} sounds that follow it can be used"
    )
