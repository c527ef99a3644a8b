"""How fast rows are made of pictures and videos, and how fast they are checked, next to decoding
alone, which is the bound.

Media are drawn for the measurement, or taken from a folder of yours.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mmrl.config.schema import MediaConfig
from mmrl.data.check import bad_media
from mmrl.data.folder import SourceFile, find_media
from mmrl.data.golds import check_golds
from mmrl.data.rows import load_rows
from mmrl.data.sources import ROWS_FILE, build_into
from mmrl.errors import DataError
from mmrl.judging.panel import Panel
from mmrl.media.image import decode_image
from mmrl.types import Medium

PICTURE = 448
"""Pixels per side of the pictures that are drawn, and of the jigsaws."""
VIDEO = (640, 360, 30)
"""Width, height and frames per second of the videos that are drawn."""
PICTURES, VIDEOS, VIDEO_S = 192, 4, 20
QUESTIONS = 4
"""Questions of one file, which is decoded once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """What was measured of one kind of work."""

    name: str
    per_second: float
    """Rows per second, or seconds of video per second."""
    bound: float
    """The same for decoding alone."""
    unit: str
    note: str = ""


def measure(pictures: Path | None = None, videos: Path | None = None) -> Iterator[Speed]:
    """Measure the image jigsaw, the check of its rows and the temporal jigsaw, one after the other.

    Args:
        pictures: A folder of pictures in place of drawn ones.
        videos: A folder of videos in place of drawn ones.

    Raises:
        DataError: there is nothing in a folder that could be used.
    """
    with tempfile.TemporaryDirectory(prefix="mmrl-bench-") as temporary:
        scratch = Path(temporary)
        yield from _pictures(pictures or _draw_pictures(scratch / "pictures"), scratch)
        yield from _videos(videos or _draw_videos(scratch / "videos"), scratch)


def _pictures(folder: Path, scratch: Path) -> Iterator[Speed]:
    files = _files(folder, "image")
    config = MediaConfig()

    def decode(source: SourceFile) -> None:
        medium = Medium(kind="image", source=source.path)
        np.asarray(decode_image(medium, config, "", longer_side=PICTURE))

    _side_by_side(decode, files[:2])  # what is loaded once does not belong to the first rows
    build_into(scratch / "first", "jigsaw", {"in": folder, "allow_skips": True}, seed=1)
    decoding = len(files) / _seconds(lambda: _side_by_side(decode, files))
    for count, note in ((1, "one per picture"), (QUESTIONS, f"{QUESTIONS} per picture")):
        built = scratch / f"jigsaw-{count}"
        params = {"in": folder, "size": PICTURE, "count": count, "allow_skips": True}
        seconds = _seconds(lambda to=built, given=params: build_into(to, "jigsaw", given, seed=0))
        rows = len(load_rows(built / ROWS_FILE))
        yield Speed(
            name=f"jigsaw at {PICTURE} pixels",
            per_second=rows / seconds,
            bound=decoding * count,
            unit="rows/s",
            note=note,
        )
    yield _check(scratch / f"jigsaw-{QUESTIONS}", "check of jigsaw rows")


def _videos(folder: Path, scratch: Path) -> Iterator[Speed]:
    files = _files(folder, "video")
    _decode_all(files[0])
    lengths: list[Fraction] = []
    alone = _seconds(lambda: lengths.extend(_side_by_side(_decode_all, files)))
    total = float(sum(lengths))
    built = scratch / "temporal_jigsaw"
    params = {"in": folder, "clips": 6, "allow_skips": True}
    seconds = _seconds(lambda: build_into(built, "temporal_jigsaw", params, seed=0))
    yield Speed(
        name="temporal jigsaw",
        per_second=total / seconds,
        bound=total / alone,
        unit="x real time",
        note=f"{len(files)} videos, {total:.0f} s",
    )
    more = scratch / "temporal_jigsaw-more"
    build_into(more, "temporal_jigsaw", {**params, "count": QUESTIONS}, seed=0)
    yield _check(more, "check of its rows")


def _check(built: Path, name: str) -> Speed:
    """Measure what `mmrl data check` does, and its decoding alone."""
    config = MediaConfig()
    file = built / ROWS_FILE
    rows = load_rows(file)
    list(bad_media(rows[:2], config))
    decoding = len(rows) / _seconds(lambda: list(bad_media(rows, config)))
    panel = Panel()
    try:
        errors: list[DataError] = []

        def check() -> None:
            read = load_rows(file)
            errors.extend(bad_media(read, config))
            errors.extend(check_golds(read, panel).errors)

        seconds = _seconds(check)
    finally:
        panel.close()
    note = f"{len(errors)} mistakes" if errors else ""
    return Speed(
        name=name, per_second=len(rows) / seconds, bound=decoding, unit="rows/s", note=note
    )


def _files(folder: Path, kind: Any) -> list[SourceFile]:
    files, _ = find_media(folder, kind)
    if not files:
        raise DataError(f"{folder}: there is no {kind} in it; give another folder")
    return files


def _decode_all(source: SourceFile) -> Fraction:
    """Decode every frame, and return how long the video is; a broken one has no length."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(source.path)) as container:
            stream = container.streams.video[0]
            count = sum(1 for _ in container.decode(stream))
            return Fraction(count) / (stream.average_rate or 25)
    except FFmpegError:
        return Fraction(0)


def _side_by_side(work: Callable[[SourceFile], Any], files: Sequence[SourceFile]) -> list[Any]:
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(work, files))


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _draw_pictures(folder: Path) -> Path:
    """Draw pictures with coarse and fine structure, whose JPEGs are as large as photographs'."""
    from PIL import Image

    folder.mkdir()
    for number in range(PICTURES):
        pixels = _texture(np.random.default_rng(number), PICTURE, PICTURE)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=90)
    return folder


def _draw_videos(folder: Path) -> Path:
    """Draw videos that pan over such a picture, encoded as a camera or a web site would."""
    import av

    folder.mkdir()
    width, height, fps = VIDEO
    for number in range(VIDEOS):
        wide = _texture(np.random.default_rng(number), height, 2 * width)
        with av.open(str(folder / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.options = {"crf": "23", "preset": "veryfast"}
            for index in range(VIDEO_S * fps):
                left = width * index // (VIDEO_S * fps)
                frame = np.ascontiguousarray(wide[:, left : left + width])
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
    return folder


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return uint8 RGB pixels: noise at several scales, the finest the weakest."""
    import cv2

    pixels = np.full((height, width, 3), 128.0)
    for cell, spread in ((128, 60.0), (32, 30.0), (8, 15.0), (2, 8.0)):
        noise = rng.normal(0, spread, (height // cell + 2, width // cell + 2, 3))
        pixels += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(pixels, 0, 255).astype(np.uint8)
