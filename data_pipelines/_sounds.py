"""Sounds in and out, for the questions that are made of sounds; no pipeline.

What is shown is cut from the middle of a recording, so that no piece has its beginning or end;
every cut is faded alike, so that no click tells what was next to it.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_pipelines._pretext import LIMITS, store
from mmrl.data.folder import SourceFile, left_out
from mmrl.media.audio import decode_audio
from mmrl.media.writers import encode_wav
from mmrl.types import Medium

Rate = Annotated[int, Field(ge=4000, le=48_000)]
Seconds = Annotated[float, Field(gt=0, le=120)]

TRIM = 0.02
"""Share of a recording that is left off at each end."""
FADE_S = 0.01
PEAK = 0.7

_SILENT = 1e-3
"""Root mean square below which a piece is silence."""
_BANDS, _MOMENTS = 16, 4
_WINDOW = 512


def open_sound(source: SourceFile, rate: int) -> np.ndarray:
    """Return float32 samples [S] without the recording's ends, mono, at `rate` per second.

    Raises:
        DataError: the file cannot be decoded or is over a limit.
    """
    samples = decode_audio(Medium(kind="audio", source=source.path), LIMITS, rate, "")
    end = round(len(samples) * TRIM)
    return samples[end : len(samples) - end]


def excerpt(
    source: SourceFile, samples: np.ndarray, rate: int, seconds: float, rng: Random
) -> np.ndarray:
    """Return a random excerpt of that length.

    Raises:
        DataError: the recording is shorter, or the excerpt is silent.
    """
    length = round(seconds * rate)
    if len(samples) < length:
        reason = f"{len(samples) / rate:.2f} s are too short, {seconds:.2f} s are needed"
        raise left_out(source.path, reason)
    start = rng.randint(0, len(samples) - length)
    found = samples[start : start + length]
    check_loud(source, found)
    return found


def check_loud(source: SourceFile, samples: np.ndarray) -> None:
    """Refuse silence.

    Raises:
        DataError: there is nothing to hear.
    """
    if rms(samples) < _SILENT:
        raise left_out(source.path, "what was cut out of it is silent")


def rms(samples: np.ndarray) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def faded(samples: np.ndarray, rate: int) -> np.ndarray:
    """Fade in and out; the same backwards as forwards."""
    count = min(round(FADE_S * rate), len(samples) // 2)
    ramp = np.sin(np.linspace(0, np.pi / 2, count, dtype=np.float32))
    shaped = samples.copy()
    shaped[:count] *= ramp
    shaped[len(shaped) - count :] *= ramp[::-1]
    return shaped


def spectrum(samples: np.ndarray) -> np.ndarray:
    """Return what is left of a sound at a glance: decibels [4 moments, 16 bands], -80 at least."""
    pieces = np.array_split(samples, _MOMENTS)
    found = np.full((_MOMENTS, _BANDS), 1e-8)
    edges = np.linspace(1, np.sqrt(_WINDOW / 2 + 1), _BANDS + 1) ** 2
    for moment, piece in enumerate(pieces):
        frames = np.resize(piece, (max(1, len(piece) // _WINDOW), _WINDOW)) * np.hanning(_WINDOW)
        power = np.square(np.abs(np.fft.rfft(frames))).mean(axis=0) / _WINDOW
        for band in range(_BANDS):
            low = int(edges[band])
            found[moment, band] += power[low : max(low + 1, int(edges[band + 1]))].mean()
    return 10 * np.log10(found)


def unlikeness(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean difference of two sounds at a glance, in decibels."""
    return float(np.abs(spectrum(one) - spectrum(other)).mean())


def audio_part(folder: Path, samples: np.ndarray, rate: int) -> dict[str, Any]:
    """Write samples as 16-bit WAV at a common peak; return the part of a prompt that plays them."""
    level = samples * (PEAK / max(float(np.abs(samples).max()), 1e-6))
    return {"type": "audio", "audio": store(folder, encode_wav(level, sampling_rate=rate), "wav")}
