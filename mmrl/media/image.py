"""Decode an image by Pillow to RGB, upright and within limits; a doubtful one is an error.

The EXIF orientation is applied. Transparency is flattened on white. 16-bit grey keeps its high
byte, as Pillow does for 16-bit colour. An animation is refused; of a camera's multi-picture JPEG
the main picture is taken. Colour profiles are not applied.
"""

from __future__ import annotations

import io
import math
import threading
from typing import TYPE_CHECKING

from mmrl.errors import DataError
from mmrl.media.encoded import check_encoded, medium_error, read_encoded

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmrl.config.schema import MediaConfig
    from mmrl.types import Medium

MAX_ASPECT = 200
"""Longest side over shortest; the processors of the Qwen families raise an error beyond it."""

_OPENING = threading.Lock()


def decode_image(
    medium: Medium, config: MediaConfig, row_id: str, *, longer_side: int | None = None
) -> Image:
    """Decode an image to a Pillow picture of mode RGB.

    Args:
        medium: The image.
        config: Limits.
        row_id: For messages; empty for a file that is no row's yet.
        longer_side: Decode a JPEG at the smallest of 1/8, 1/4, 1/2 of its size whose longer side
            still has so many pixels, which takes a fraction of the time.

    Raises:
        DataError: missing, empty, corrupt, truncated, animated, of another kind, or over a limit.
    """
    found = check_encoded(medium, config, row_id)
    encoded = read_encoded(medium, row_id)
    try:
        image = open_header(encoded, found.name)
        _check_header(image, medium, config, row_id)
        if longer_side is not None:
            share = longer_side / max(image.size)
            image.draft(None, (math.ceil(image.width * share), math.ceil(image.height * share)))
        image.load()
        return _upright_rgb(image)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise nearly any class on damaged bytes
        raise medium_error(medium, row_id, f"Pillow cannot decode it ({_brief(error)})") from error


def open_header(encoded: bytes, format_name: str) -> Image:
    """Read the header, with Pillow's process-wide pixel limit lifted meanwhile: ours decides."""
    from PIL import Image

    with _OPENING:
        guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(encoded), formats=[format_name])
        finally:
            Image.MAX_IMAGE_PIXELS = guard


def check_shape(width: int, height: int, medium: Medium, config: MediaConfig, row_id: str) -> None:
    """Check a picture's or a frame's size against `limit_image_pixels` and MAX_ASPECT."""
    size = f"{width} x {height} pixels"
    if width < 1 or height < 1:
        raise medium_error(medium, row_id, f"{size}: an empty picture")
    if width * height > config.limit_image_pixels:
        problem = f"{size} is more than media.limit_image_pixels ({config.limit_image_pixels})"
        raise medium_error(
            medium, row_id, problem, remedy="raise the limit, shrink it or remove the row"
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        problem = f"{size}: one side is more than {MAX_ASPECT} times the other"
        raise medium_error(medium, row_id, problem, remedy="crop it or remove the row")


def _check_header(image: Image, medium: Medium, config: MediaConfig, row_id: str) -> None:
    check_shape(image.width, image.height, medium, config, row_id)
    frame_count = getattr(image, "n_frames", 1)
    if frame_count > 1 and image.format != "MPO":
        remedy = "keep one frame, or give it as a video, or remove the row"
        raise medium_error(medium, row_id, f"it has {frame_count} frames or pages", remedy=remedy)


def _upright_rgb(image: Image) -> Image:
    from PIL import Image as pillow
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return _high_byte(image).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(
            f"pixels of mode {image.mode} have no agreed range; save it with 8 or 16 bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = pillow.new("RGBA", image.size, (255, 255, 255, 255))
        return pillow.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _high_byte(image: Image) -> Image:
    import numpy as np
    from PIL import Image as pillow

    return pillow.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))


def _brief(error: Exception) -> str:
    said = str(error)
    if not said or " object at 0x" in said:  # an address in memory tells nobody anything
        return type(error).__name__
    return f"{type(error).__name__}: {said}"
