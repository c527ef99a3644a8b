"""Questions on generated sounds: pitch and order of tones; no pipeline."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np

from data_pipelines.synthetic_drawing import hiss, tone
from data_pipelines.synthetic_question import Question, Settings, Task

LEVELS = ("low", "middle", "high")
MIDDLE_HZ = 600.0


def pitch(rng: Random, settings: Settings) -> Question:
    """Make: is the tone low, middle or high? The harder, the closer the three are."""
    answer = rng.choice(LEVELS)
    sound = _sound(answer, rng.uniform(0.6, 1.0), rng, settings)
    return Question(
        medium=_finished(sound, rng, settings), answer=answer, evidence=f"it is {answer}"
    )


def tone_order(rng: Random, settings: Settings) -> Question:
    """Make: in which order do the tones come? Low and high (easy), two of three, or all three."""
    names, length = LEVELS, 3
    if settings.difficulty < 2 / 3:
        names, length = (LEVELS if settings.difficulty >= 1 / 3 else ("low", "high")), 2
    heard = rng.choice(list(itertools.permutations(names, length)))
    seconds = rng.uniform(0.8, 1.0) / length
    pause = np.zeros(round(0.04 * settings.sampling_rate))
    pieces = [
        np.concatenate([_sound(name, seconds - 0.04, rng, settings), pause]) for name in heard
    ]
    sound = np.concatenate(pieces)
    return Question(
        medium=_finished(sound, rng, settings),
        answer=" ".join(heard),
        evidence=" then ".join(heard),
    )


def _sound(level: str, seconds: float, rng: Random, settings: Settings) -> np.ndarray:
    ratio = 2.4 - 0.9 * settings.difficulty
    frequency = MIDDLE_HZ * ratio ** (LEVELS.index(level) - 1) * rng.uniform(0.93, 1.07)
    loudness = rng.uniform(0.5 - 0.3 * settings.difficulty, 0.7)
    return tone(frequency, seconds, rng, sampling_rate=settings.sampling_rate, loudness=loudness)


def _finished(sound: np.ndarray, rng: Random, settings: Settings) -> np.ndarray:
    return hiss(sound, rng, level=0.004 + 0.05 * settings.difficulty)


TASKS = {
    "pitch": Task(
        kind="audio",
        make=pitch,
        verifier="exact",
        wordings=("Which pitch?", "How high is the tone?", "Name the pitch."),
    ),
    "tone_order": Task(
        kind="audio",
        make=tone_order,
        verifier="exact",
        wordings=("Order of the tones?", "Which tones, in order?", "Name the tones in order."),
    ),
}
