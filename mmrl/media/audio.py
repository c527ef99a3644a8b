"""Decode a sound by soundfile to one channel of float32 at the rate that the processor asks for.

Channels are averaged; resampling is soxr's high quality. A file that is shorter than its header
says is an error.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from mmrl.media.encoded import check_encoded, medium_error, read_encoded

if TYPE_CHECKING:
    import numpy as np

    from mmrl.config.schema import MediaConfig
    from mmrl.types import Medium

_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
"""Written by programs that stream a WAV and cannot go back to fill in its size."""


def decode_audio(
    medium: Medium, config: MediaConfig, sampling_rate: int, row_id: str
) -> np.ndarray:
    """Decode a sound to float32 samples, shape [samples], mono, at `sampling_rate` per second.

    Raises:
        DataError: missing, empty, corrupt, truncated, not finite, of another kind, or over a limit.
    """
    found = check_encoded(medium, config, row_id)
    encoded = read_encoded(medium, row_id)
    if found.name == "WAV" and (missing := _missing_wav_bytes(encoded)):
        raise medium_error(medium, row_id, f"it is truncated: {missing} bytes of sound are missing")
    samples, rate = _read(medium, config, row_id, encoded)
    if not len(samples):
        raise medium_error(medium, row_id, "it holds no samples")
    return _mono(samples, rate, medium, sampling_rate, row_id)


def audio_seconds(medium: Medium, row_id: str) -> float:
    """The duration of a sound by its header; nothing is decoded.

    Raises:
        DataError: missing, or not a sound that soundfile knows.
    """
    import soundfile

    try:
        return soundfile.info(io.BytesIO(read_encoded(medium, row_id))).duration
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = str(getattr(error, "error_string", error))
        raise medium_error(medium, row_id, f"soundfile cannot read it ({reason})") from error


def _read(
    medium: Medium, config: MediaConfig, row_id: str, encoded: bytes
) -> tuple[np.ndarray, int]:
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(encoded)) as file:
            _check_duration(file.frames / file.samplerate, medium, config, row_id)
            samples = file.read(dtype="float32", always_2d=True)
            promised, rate = file.frames, file.samplerate
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        reason = str(getattr(error, "error_string", error))
        raise medium_error(medium, row_id, f"soundfile cannot decode it ({reason})") from error
    if len(samples) < promised:
        problem = f"it is truncated: {promised} samples are promised, {len(samples)} can be read"
        raise medium_error(medium, row_id, problem)
    return samples, rate


def _check_duration(seconds: float, medium: Medium, config: MediaConfig, row_id: str) -> None:
    if seconds > config.limit_audio_seconds:
        limit = config.limit_audio_seconds
        problem = f"{seconds:.1f} s is more than media.limit_audio_seconds ({limit:g})"
        raise medium_error(
            medium, row_id, problem, remedy="raise the limit, cut it or remove the row"
        )


def _mono(
    samples: np.ndarray, rate: int, medium: Medium, sampling_rate: int, row_id: str
) -> np.ndarray:
    import numpy as np

    mono = np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32))
    if not np.isfinite(mono).all():
        raise medium_error(medium, row_id, "it holds samples that are not finite numbers")
    if rate == sampling_rate:
        return mono
    import soxr

    resampled = soxr.resample(mono, rate, sampling_rate, quality="HQ").astype(np.float32)
    if not len(resampled):
        raise medium_error(
            medium, row_id, f"{len(mono)} samples at {rate} Hz are too short to resample"
        )
    return resampled


def _missing_wav_bytes(encoded: bytes) -> int:
    """Walk the RIFF chunks to the sound; libsndfile reads a cut file without a word."""
    if encoded[:4] != b"RIFF":
        return 0
    position = 12
    while position + 8 <= len(encoded):
        name, size = struct.unpack_from("<4sI", encoded, position)
        if name == b"data":
            return 0 if size in _UNKNOWN_SIZES else max(0, position + 8 + size - len(encoded))
        position += 8 + size + size % 2
    return 0
