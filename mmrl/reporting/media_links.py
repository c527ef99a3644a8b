"""Links the media of rollouts from a page in the run folder, so that both can be moved together."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mmrl.config.schema import MediaConfig
from mmrl.reporting.markup import text
from mmrl.reporting.media_previews import film_strip, spectrogram

_KINDS = ("image", "video", "audio")
_INSIDE_DATA = re.compile(r"(image|video|audio): \d+ bytes")
_MOST = 8
"""Media shown of one row."""
_SMALL = 200
"""Pixels up to which a picture is enlarged without smoothing."""


def find_kinds(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The kind of each medium of a line of rollouts.jsonl.

    By the placeholders in its prompt; where the prompt's own words look like them, by file name.
    """
    lines = record["prompt"].split("\n")
    kinds = [line[1:-1] for line in lines if line in {f"<{kind}>" for kind in _KINDS}]
    if len(kinds) == len(record["media"]):
        return tuple(kinds)
    return tuple(_kind(reference) for reference in record["media"])


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaLinks:
    """Where the page stands, and where the run stood when it wrote down its media."""

    folder: Path
    """The run folder."""
    out: Path
    """The run folder as the configuration names it; it may have been moved since."""
    media: MediaConfig
    """How media are decoded for their previews."""

    def show(self, media: Sequence[str], kinds: Sequence[str]) -> str:
        """The media as HTML, up to a number of them."""
        if not media:
            return ""
        shown = "".join(self._one(*pair) for pair in list(zip(media, kinds, strict=True))[:_MOST])
        more = f"<p class=missing>and {len(media) - _MOST} more</p>" if len(media) > _MOST else ""
        return f"<div class=media>{shown}{more}</div>"

    def find(self, reference: str) -> Path:
        """The file that a line of rollouts.jsonl means, made absolute."""
        path = Path(reference)
        for out in (self.out, self.out.absolute()):
            if path.is_relative_to(out):
                return self.folder.absolute() / path.relative_to(out)
        return Path(os.path.normpath(path.absolute()))

    def link(self, path: Path) -> str:
        """Relative to the page for a file inside the run folder, else absolute."""
        folder = self.folder.absolute()
        if path.is_relative_to(folder):
            return quote(path.relative_to(folder).as_posix())
        return path.as_uri()

    def _one(self, reference: str, kind: str) -> str:
        if _INSIDE_DATA.fullmatch(reference):
            return f"<p class=missing>{reference}, inside the data file</p>"
        path = self.find(reference)
        # Unlike Path.is_file, this is False for names that no file can have.
        if not os.path.isfile(path):
            return f"<p class=missing>{kind} not found: {text(reference, head=200)}</p>"
        link = text(self.link(path))
        return {"image": _image, "video": _video, "audio": _audio}[kind](path, link, self.media)


def _image(path: Path, link: str, _: MediaConfig) -> str:
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        # The browser may still know the format.
        return f'<img loading=lazy alt="" src="{link}">'
    small = " class=small" if max(width, height) <= _SMALL else ""
    sides = f"width={width} height={height}"
    return f'<a href="{link}"><img{small} {sides} loading=lazy alt="" src="{link}"></a>'


def _video(path: Path, link: str, media: MediaConfig) -> str:
    frames = film_strip(path, media)
    poster = f' poster="{frames[0]}"' if frames else ""
    shown = "".join(f'<img alt="" src="{frame}">' for frame in frames)
    return (
        f'<div class=strip><a href="{link}">{shown}</a></div>'
        f"<details class=player><summary>play</summary>"
        f'<video controls loop muted playsinline preload=none{poster} src="{link}"></video>'
        f"</details>"
    )


def _audio(path: Path, link: str, media: MediaConfig) -> str:
    seen = spectrogram(path, media)
    drawn = f"<div class=spectrogram style=\"mask-image:url('{seen}')\"></div>" if seen else ""
    return f'<div class=sound>{drawn}<audio controls preload=none src="{link}"></audio></div>'


def _kind(reference: str) -> str:
    inside = _INSIDE_DATA.fullmatch(reference)
    if inside:
        return inside[1]
    guess = (mimetypes.guess_type(reference)[0] or "").split("/")[0]
    return guess if guess in _KINDS else "image"
