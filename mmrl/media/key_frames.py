"""Tell whether decoding can start at every key frame of a video.

decord counts frames from the key frame that it has sought. Where a key frame is no clean start
(open groups of pictures, recovery points, frames that are shown before the key frame that they
follow in the file), the decoder drops some, and decord gives other frames than those asked for,
without an error. So it may only seek where this module says so, and reads on frame by frame
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

INDEXED = ("mov", "matroska", "flv")
"""Containers with an index of key frames that decord seeks by without a mistake."""

_IDR_TYPES = {"h264": (5,), "hevc": (19, 20)}
"""Types of the units that make up a picture from which nothing before it is needed."""

_ALWAYS_CLEAN = ("vp8", "vp9")


@dataclass(frozen=True, kw_only=True, slots=True)
class PacketFacts:
    """What has to be known of a packet when its bytes are gone."""

    is_picture: bool
    """It belongs to the video track that is decoded."""
    pts: int | None
    duration: int
    end_s: Fraction
    is_corrupt: bool
    is_discard: bool
    is_key: bool
    is_clean_start: bool
    """Nothing before it is needed for what comes after it."""


def facts_of(packet: Any, stream: Any) -> PacketFacts:
    """Keep the facts of a packet of any track; `stream` is the video track that is decoded."""
    is_picture = packet.stream == stream
    is_key = is_picture and packet.is_keyframe
    end = ((packet.pts or 0) + packet.duration) * packet.time_base
    return PacketFacts(
        is_picture=is_picture,
        pts=packet.pts,
        duration=packet.duration,
        end_s=Fraction(end),
        is_corrupt=packet.is_corrupt,
        is_discard=packet.is_discard,
        is_key=is_key,
        is_clean_start=is_key and _is_clean_start(packet, stream),
    )


def has_clean_starts(packets: Iterable[PacketFacts]) -> bool:
    """Look at the packets of the video track, in the order of the file; False where in doubt."""
    key = None
    for packet in packets:
        if packet.pts is None:
            return False
        if packet.is_key:
            key = packet.pts
            if not packet.is_clean_start:
                return False
        elif key is None or packet.pts < key:
            return False
    return True


def _is_clean_start(packet: Any, stream: Any) -> bool:
    codec = stream.codec_context.codec.canonical_name
    if codec in _ALWAYS_CLEAN:
        return True
    return codec in _IDR_TYPES and _is_idr(bytes(packet), codec, stream.codec_context.extradata)


def _is_idr(packet: bytes, codec: str, extradata: bytes | None) -> bool:
    """Look for a unit of an IDR picture among the length-prefixed units of a packet."""
    place = 4 if codec == "h264" else 21
    if not extradata or len(extradata) <= place or extradata[0] != 1:  # not the layout with lengths
        return False
    for head in _heads(packet, (extradata[place] & 3) + 1):
        kind = head & 0x1F if codec == "h264" else head >> 1 & 0x3F
        if kind in _IDR_TYPES[codec]:
            return True
    return False


def _heads(packet: bytes, length_size: int) -> Iterator[int]:
    """Return the first byte of every unit."""
    position = 0
    while position + length_size < len(packet):
        size = int.from_bytes(packet[position : position + length_size], "big")
        yield packet[position + length_size]
        position += length_size + size
