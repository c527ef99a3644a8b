"""Small pictures of what a page cannot print: the frames of a video, the spectrogram of a sound."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from mmrl.errors import DataError
from mmrl.types import Medium

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from mmrl.config.schema import MediaConfig

_FRAMES = 6
_SIDE = 144
"""Longest side of a frame in pixels."""
_RATE = 16_000
_WINDOW = 512
_COLUMNS = 360
_TOP_HZ = 4000
"""Speech and tones lie below it."""
_FLOOR_DB = -60.0
"""Quieter than this, against the loudest, is left blank."""


def film_strip(path: Path, config: MediaConfig) -> list[str]:
    """Frames from the first to the last as data URLs, none where the video cannot be decoded."""
    from PIL import Image

    from mmrl.media.video import decode_video

    limits = {"video_min_frames": _FRAMES, "video_max_frames": _FRAMES}
    try:
        video = decode_video(
            Medium(kind="video", source=path), config.model_copy(update=limits), ""
        )
    except DataError:
        return []
    pictures = [Image.fromarray(frame) for frame in video.frames_THWC]
    for picture in pictures:
        picture.thumbnail((_SIDE, _SIDE))
    return [_data_url(picture, "webp") for picture in pictures]


def spectrogram(path: Path, config: MediaConfig) -> str | None:
    """A picture of a sound as a data URL: time to the right, pitch upwards, loudness as opacity.

    None where the sound cannot be decoded.
    """
    from PIL import Image

    from mmrl.media.audio import decode_audio

    try:
        samples = decode_audio(Medium(kind="audio", source=path), config, _RATE, "")
    except DataError:
        return None
    opacity = Image.fromarray(_loudness(samples))
    picture = Image.new("LA", opacity.size)
    picture.putalpha(opacity)
    return _data_url(picture, "png")


def _loudness(samples: np.ndarray) -> np.ndarray:
    """Loudness of the spectrum up to _TOP_HZ as uint8 [frequencies, moments]; 0 is blank."""
    import numpy as np

    padded = np.pad(samples, (0, _WINDOW))
    hop = max(_WINDOW // 8, (len(padded) - _WINDOW) // _COLUMNS + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW), axis=1)) ** 2
    power = power[:, : _TOP_HZ * _WINDOW // _RATE].T[::-1]
    decibels = 10 * np.log10(power / max(power.max(), 1e-12) + 1e-12)
    return np.round(255 * np.clip(1 - decibels / _FLOOR_DB, 0, 1)).astype(np.uint8)


def _data_url(picture: Image, form: str) -> str:
    file = io.BytesIO()
    picture.save(file, form)
    return f"data:image/{form};base64,{base64.b64encode(file.getvalue()).decode()}"
