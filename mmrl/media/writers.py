"""Write PNG, MP4 and WAV files whose bytes depend on the content alone, for exact rebuilds."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def write_png(path: Path, pixels_HWC: np.ndarray) -> None:
    """Write uint8 RGB pixels, shape [height, width, 3]."""
    from PIL import Image

    Image.fromarray(pixels_HWC).save(path, format="PNG")


def write_mp4(
    path: Path | io.BytesIO,
    frames_THWC: np.ndarray,
    *,
    fps: float | Fraction,
    frames_alone: bool = False,
) -> None:
    """Write uint8 RGB frames, shape [frames, height, width, 3], as nearly lossless H.264.

    Args:
        path: The file, or a buffer in its place.
        frames_THWC: The frames.
        fps: Frames per second.
        frames_alone: Code every frame by itself and in the same way, so that nothing in the file
            but the pictures depends on their order.

    Raises:
        ValueError: height or width is odd, which the pixel format (4:2:0) cannot store.
    """
    import av

    _, height, width, _ = frames_THWC.shape
    if height % 2 or width % 2:
        raise ValueError(f"{width} x {height} pixels: an MP4 frame needs even sides")
    target = path if isinstance(path, io.BytesIO) else str(path)
    with av.open(target, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {**_FIXED, **(_FRAMES_ALONE if frames_alone else _NEARLY_LOSSLESS)}
        for frame in frames_THWC:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


_FIXED = {"preset": "ultrafast", "threads": "1", "flags": "+bitexact"}
"""One thread, no build names: the same frames are the same bytes on every run."""
_NEARLY_LOSSLESS = {"crf": "8"}
_FRAMES_ALONE = {"g": "1", "qp": "19"}
"""One quantizer for all: a constant quality (crf) would depend on the frames before."""


def write_wav(path: Path, samples: np.ndarray, *, sampling_rate: int = 16_000) -> None:
    """Write mono samples between -1 and 1 as 16-bit PCM."""
    path.write_bytes(encode_wav(samples, sampling_rate=sampling_rate))


def encode_wav(samples: np.ndarray, *, sampling_rate: int = 16_000) -> bytes:
    """Return the bytes of a WAV file of mono samples between -1 and 1, as 16-bit PCM."""
    import soundfile

    file = io.BytesIO()  # into a file, soundfile would wait for the disk each time
    soundfile.write(file, samples, sampling_rate, subtype="PCM_16", format="WAV")
    return file.getvalue()
