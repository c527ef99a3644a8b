"""Decode a video to a bounded number of frames, evenly spaced in time, and their rate.

How many frames, by `frame_count`: duration times `video_fps`, rounded, between `video_min_frames`
and `video_max_frames`, never more than the video has, and even where that is possible, because the
Qwen families join two frames to one temporal patch. Which frames, by `frame_indices`: evenly spaced
from the first to the last in time, so a video of variable rate is sampled right. The rate after
sampling is frames over duration; processors place the frames in time by it.

PyAV reads the container in every case (times, length, damage); the pixels come from the decoder
that the configuration names, and from no other. Both give the same frames. Rotation metadata is
applied.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.errors import ConfigError, DataError
from mmrl.media.encoded import check_encoded, medium_error
from mmrl.media.image import check_shape
from mmrl.media.key_frames import INDEXED, PacketFacts, facts_of, has_clean_starts

if TYPE_CHECKING:
    import numpy as np

    from mmrl.config.schema import MediaConfig
    from mmrl.types import Medium


_TOLERANCE_S = Fraction(1, 2)
"""How much earlier than its header says a file may end: headers round, and count the last frame."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Video:
    """Sampled frames and their place in time."""

    frames_THWC: np.ndarray
    """uint8 RGB; T is even unless the video has a single frame."""
    fps: float
    """Sampled frames per second of video: what the processor must be told."""
    indices: tuple[int, ...]
    """Which of the video's frames, in order of presentation, were sampled."""
    duration_s: float
    source_fps: float
    """Mean frame rate of the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Track:
    """What the container says of its video track."""

    container_name: str
    is_seekable: bool
    """Decoding can start at any key frame; see mmrl/media/key_frames.py."""
    times: list[Fraction]
    """The moment of each frame in seconds, the first one at 0."""
    stamps: list[int]
    """The same in the file's own ticks; empty where the file does not say them of every frame (an
    AVI gives the order of decoding)."""
    duration: Fraction


def decode_video(
    medium: Medium, config: MediaConfig, row_id: str, *, shorter_side: int | None = None
) -> Video:
    """Decode the sampled frames of a video.

    Args:
        medium: The video.
        config: Limits, rates and decoder.
        row_id: For messages; empty for a file that is no row's yet.
        shorter_side: Shrink larger frames to so many pixels, and an even number on the longer side,
            one by one, so that no more than that is ever in memory. PyAV only.

    Raises:
        DataError: missing, empty, corrupt, truncated, without pictures, of another kind, or over a
            limit.
    """
    found = check_encoded(medium, config, row_id)
    container_name = "ogg" if found.kind == "ogg" else found.name
    track = _probe(medium, container_name, config, row_id)
    times, duration = track.times, track.duration
    indices = frame_indices(times, frame_count(len(times), duration, config))
    if config.video_decoder == "decord" and shorter_side is None:
        frames = _decode_decord(medium, track, indices, row_id)
    else:
        frames = _decode_pyav(medium, track, indices, row_id, shorter_side)
    return Video(
        frames_THWC=frames,
        fps=float(len(indices) / duration),
        indices=tuple(indices),
        duration_s=float(duration),
        source_fps=float(len(times) / duration),
    )


def frame_count(available: int, duration_s: Fraction | float, config: MediaConfig) -> int:
    """Return how many frames to sample from a video with so many frames and seconds.

    An odd number loses one frame; where `video_min_frames` forbids that it gains one, if there is
    one.
    """
    wanted = round(duration_s * Fraction(config.video_fps))
    most = min(config.video_max_frames, available)
    count = min(max(wanted, config.video_min_frames), most)
    if count % 2 == 0 or count == 1 == available:
        return count
    if count - 1 < max(config.video_min_frames, 2) and count + 1 <= most:
        return count + 1
    return max(count - 1, 1)


def frame_indices(times: Sequence[Fraction], count: int) -> list[int]:
    """Return `count` indices of frames, evenly spaced in time from the first frame to the last.

    Each is the frame on show half the shortest interval after its moment: at a constant rate, the
    nearest one. Where a frame stands for long, it can be taken twice.
    """
    if count == 1:
        return [0]
    half = min(later - earlier for earlier, later in pairwise(times)) / 2
    step = (times[-1] - times[0]) / (count - 1)
    moments = (times[0] + step * position + half for position in range(count))
    return [min(bisect_right(times, moment) - 1, len(times) - 1) for moment in moments]


def _probe(medium: Medium, container_name: str, config: MediaConfig, row_id: str) -> _Track:
    """Read the container without decoding."""
    from av.error import FFmpegError

    try:
        with _open(medium, container_name) as container:
            stream = container.streams.best("video")
            if stream is None or _is_cover(stream):
                raise medium_error(medium, row_id, "it has no video track")
            check_shape(stream.width, stream.height, medium, config, row_id)
            packets = [facts_of(packet, stream) for packet in container.demux() if packet.size]
            _check_whole(container, container_name, stream, packets, medium, row_id)
            shown = [p for p in packets if p.is_picture and not p.is_discard]
            if not shown:
                raise medium_error(medium, row_id, "it holds no frames")
            times, duration = _moments(shown, stream.time_base, stream.average_rate)
            stamps = sorted({p.pts for p in shown if p.pts is not None})
            is_seekable = container_name in INDEXED and has_clean_starts(shown)
    except (FFmpegError, ValueError, EOFError) as error:
        raise medium_error(medium, row_id, f"PyAV cannot read it ({_brief(error)})") from error
    _check_duration(duration, medium, config, row_id)
    return _Track(
        container_name=container_name,
        is_seekable=is_seekable,
        times=times,
        stamps=stamps if container_name in INDEXED and len(stamps) == len(times) else [],
        duration=duration,
    )


def _check_whole(
    container: Any,
    container_name: str,
    stream: Any,
    packets: list[PacketFacts],
    medium: Medium,
    row_id: str,
) -> None:
    """Compare what is there with what the header promises; FFmpeg reads a cut file without a word.

    MP4 promises a number of frames, AVI a number of ticks, Matroska and FLV a time; transport and
    program streams promise nothing.
    """
    found = sum(packet.is_picture for packet in packets)
    end = max((packet.end_s for packet in packets), default=Fraction(0))
    promised = Fraction(0)
    if container_name == "avi":
        promised = stream.frames * stream.time_base
    elif container_name in ("flv", "matroska") and container.duration:
        promised = Fraction(container.duration, 1_000_000)
    if container_name == "mov" and found < stream.frames:
        problem = f"{stream.frames} frames are promised, {found} are there"
    elif promised - end > _TOLERANCE_S:
        problem = f"{float(promised):.1f} s are promised, {float(end):.1f} s are there"
    elif any(packet.is_corrupt for packet in packets):
        problem = "the file ends within a frame"
    else:
        return
    raise medium_error(medium, row_id, f"it is truncated: {problem}")


def _moments(
    packets: list[Any], time_base: Fraction, rate: Fraction | None
) -> tuple[list[Fraction], Fraction]:
    interval = 1 / rate if rate else Fraction(1, 25)
    if any(packet.pts is None for packet in packets):
        return [interval * index for index in range(len(packets))], interval * len(packets)
    ordered = sorted(packets, key=lambda packet: packet.pts)
    first = ordered[0].pts
    times = [(packet.pts - first) * Fraction(time_base) for packet in ordered]
    last = Fraction(time_base) * ordered[-1].duration if ordered[-1].duration else interval
    return times, times[-1] + last


def _check_duration(duration: Fraction, medium: Medium, config: MediaConfig, row_id: str) -> None:
    if duration > config.limit_video_seconds:
        limit = config.limit_video_seconds
        problem = f"{float(duration):.1f} s is more than media.limit_video_seconds ({limit:g})"
        raise medium_error(
            medium, row_id, problem, remedy="raise the limit, cut it or remove the row"
        )


def _decode_pyav(
    medium: Medium, track: _Track, indices: list[int], row_id: str, shorter_side: int | None
) -> np.ndarray:
    import numpy as np
    from av.error import FFmpegError

    wanted, found = set(indices), {}
    try:
        with _open(medium, track.container_name) as container:
            # A file that is only looked through for frames need not show that the others are whole.
            sparse = shorter_side is not None and track.stamps
            frames = _sparse(container, track, wanted) if sparse else enumerate(_decoded(container))
            for index, frame in frames:
                if index in wanted:
                    found[index] = _upright(frame, shorter_side)
                if len(found) == len(wanted):
                    break
    except (FFmpegError, ValueError, EOFError) as error:
        problem = f"PyAV cannot decode its frames ({_brief(error)})"
        raise medium_error(medium, row_id, problem) from error
    if len(found) < len(wanted):
        problem = f"PyAV decodes {len(found)} of the {len(wanted)} sampled frames"
        raise medium_error(medium, row_id, problem)
    return np.stack([found[index] for index in indices])


def _decode_decord(medium: Medium, track: _Track, indices: list[int], row_id: str) -> np.ndarray:
    decord = _import_decord()
    if track.container_name == "mpegts":
        raise _decord_error(medium, row_id, "decord misplaces frames in MPEG transport streams")
    decord.logging.set_level(decord.logging.QUIET)
    try:
        # One thread: decord's thread pool has hung on damaged files and after a fork.
        reader = decord.VideoReader(_source(medium), ctx=decord.cpu(0), num_threads=1)
        if len(reader) == len(track.times):
            if track.is_seekable:
                return reader.get_batch(indices).asnumpy()
            return _read_on(reader, indices)
        problem = f"decord finds {len(reader)} frames where the container has {len(track.times)}"
    except (decord.DECORDError, RuntimeError, IndexError, StopIteration) as error:
        raise _decord_error(medium, row_id, "decord cannot decode its frames") from error
    raise _decord_error(medium, row_id, problem)


def _read_on(reader: Any, indices: list[int]) -> np.ndarray:
    """Take frames one after the other: where key frames are no clean starts, decord's seeking gives
    other frames than those asked for, without an error.
    """
    import numpy as np

    wanted, found = set(indices), {}
    for index in range(max(indices) + 1):
        frame = reader.next()
        if index in wanted:
            found[index] = frame.asnumpy()
    return np.stack([found[index] for index in indices])


def _import_decord() -> Any:
    try:
        import decord
    except ImportError as error:
        raise ConfigError(
            "media.video_decoder: decord is not installed here (it has no build for every "
            "machine); set media.video_decoder=pyav"
        ) from error
    return decord


def _decord_error(medium: Medium, row_id: str, problem: str) -> DataError:
    remedy = "replace the file, remove the row, or set media.video_decoder=pyav"
    return medium_error(medium, row_id, problem, remedy=remedy)


def _open(medium: Medium, container_name: str) -> Any:
    import av

    # The format is given, so FFmpeg never guesses a playlist, which it would follow to other files.
    return av.open(_source(medium), format=_DEMUXERS.get(container_name, container_name))


def _source(medium: Medium) -> str | io.BytesIO:
    if isinstance(medium.source, bytes):
        return io.BytesIO(medium.source)
    return str(
        Path(medium.source).resolve()
    )  # absolute, so that no part of it is read as a protocol


_DEMUXERS = {"matroska": "matroska,webm"}


def _decoded(container: Any) -> Iterator[Any]:
    return container.decode(container.streams.best("video"))


def _sparse(container: Any, track: _Track, wanted: set[int]) -> Iterator[tuple[int, Any]]:
    """Decode frames with their places, without those that are neither wanted nor needed by others.

    About half of what is usual on the web is needed by no other frame.
    """
    place = {stamp: index for index, stamp in enumerate(track.stamps)}
    stream = container.streams.best("video")
    for packet in container.demux(stream):
        needed = packet.pts is None or place.get(packet.pts) in wanted
        stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
        for frame in packet.decode():
            if frame.pts in place:
                yield place[frame.pts], frame


def _upright(frame: Any, shorter_side: int | None) -> np.ndarray:
    import numpy as np

    turns, rest = divmod(frame.rotation, 90)
    if rest:
        raise ValueError(f"its rotation of {frame.rotation} degrees is not a multiple of 90")
    size: dict[str, Any] = {}
    if shorter_side is not None and min(frame.width, frame.height) > shorter_side:
        scale = shorter_side / min(frame.width, frame.height)
        sides = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
        size = dict(zip(("width", "height"), sides, strict=True), interpolation="AREA")
    pixels = frame.to_ndarray(format="rgb24", **size)
    return np.ascontiguousarray(np.rot90(pixels, turns % 4))


def _is_cover(stream: Any) -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _brief(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).split("\n", 1)[0]
