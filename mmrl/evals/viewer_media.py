"""The media of an item as HTML: pictures as thumbnails within the page, players for videos and
sounds that are files.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from mmrl.config.schema import MediaConfig
from mmrl.errors import DataError
from mmrl.evals.finished import Finished, FinishedItem
from mmrl.evals.questions import read_questions
from mmrl.reporting.markup import text
from mmrl.reporting.media_previews import film_strip, spectrogram
from mmrl.types import Medium

_SIDE = 360
"""Longest side of a thumbnail in pixels."""
_SMALL = 160
"""Pixels up to which a picture is enlarged without smoothing."""
_MOST = 8
"""Media shown of one item."""
_HASH = "blake2b:"


@dataclass(kw_only=True, slots=True)
class MediaShelf:
    """Finds the media of items, and makes each into HTML once."""

    page: Path
    """The page's file, which links are relative to."""
    known: Mapping[tuple[str, str], Sequence[Medium]] = field(default_factory=dict)
    """Media by task and item id, where the benchmark's data were read again."""
    _made: dict[tuple[str, Path], str] = field(default_factory=dict)

    def show(self, task: str, item: FinishedItem) -> str:
        """Return the media of an item as HTML; nothing for an item without any."""
        media = self.known.get((task, item.result.item.id))
        if media is None:
            media = [found for found in map(_from_prompt, _media_parts(item)) if found]
        hidden = len(_media_parts(item)) - len(media)
        shown = [self._one(medium) for medium in media[:_MOST]]
        if len(media) > _MOST:
            shown.append(f"<p class=missing>and {len(media) - _MOST} more</p>")
        if hidden > 0 and not media:
            what = "pictures, videos or sounds" if hidden > 1 else "picture, video or sound"
            shown.append(
                f"<p class=missing>{hidden} {what} inside the data; data=PATH shows them</p>"
            )
        return f"<div class=media>{''.join(shown)}</div>" if shown else ""

    def _one(self, medium: Medium) -> str:
        if isinstance(medium.source, bytes):
            return _picture(medium, "") if medium.kind == "image" else _inside(medium.kind)
        # unlike Path.is_file, this is False for names that no file can have
        if not os.path.isfile(medium.source):
            said = text(str(medium.source), head=200)
            return f"<p class=missing>{medium.kind} not found: {said}</p>"
        key = (medium.kind, medium.source)
        if key not in self._made:
            link = text(_link(medium.source, self.page))
            make = {"image": _picture, "video": _video, "audio": _audio}[medium.kind]
            self._made[key] = make(medium, link)
        return self._made[key]


def reread_media(
    run: Finished, data: Mapping[str, str], shown: Mapping[str, set[str]]
) -> dict[tuple[str, str], Sequence[Medium]]:
    """Read the benchmarks' data again for the media that a run folder does not name: those that
    stood in the data themselves, and those that were moved to where `data` says.

    Args:
        run: The evaluation.
        data: Where the data of a task lie now.
        shown: The ids that are wanted, by task.

    Raises:
        DataError: the data are not there.
    """
    found: dict[tuple[str, str], Sequence[Medium]] = {}
    for name, task in run.tasks.items():
        described = run.described.get("tasks", {}).get(name, {})
        source = data.get(name) or _local(described.get("data"))
        inside = any(_is_inside(part) for item in task.items for part in _media_parts(item))
        if source is None or not (name in data or inside):
            continue
        split = task.benchmark.split(described.get("split"))
        for question in read_questions(task.benchmark, source, split):
            if question.row is not None and question.item.id in shown[name]:
                found[name, question.item.id] = question.row.media
    return found


def _local(source: str | None) -> str | None:
    return source if source and Path(source).exists() else None


def _media_parts(item: FinishedItem) -> list[Mapping[str, object]]:
    parts = [part for message in item.prompt for part in message["content"]]
    return [part for part in parts if part["type"] in ("image", "video", "audio")]


def _is_inside(part: Mapping[str, object]) -> bool:
    return str(part[str(part["type"])]).startswith(_HASH)


def _from_prompt(part: Mapping[str, object]) -> Medium | None:
    kind = str(part["type"])
    source = part[kind]
    if _is_inside(part) or not isinstance(source, str):
        return None
    return Medium(kind=kind, source=Path(source))  # type: ignore[arg-type]


def _inside(kind: str) -> str:
    return f"<p class=missing>{kind}, inside the data file</p>"


def _link(path: Path, page: Path) -> str:
    folder = page.absolute().parent
    return quote(Path(os.path.relpath(path.absolute(), folder)).as_posix())


def _picture(medium: Medium, link: str) -> str:
    from mmrl.media.image import decode_image

    try:
        image = decode_image(medium, MediaConfig(), "", longer_side=_SIDE)
    except DataError as error:
        return f"<p class=missing>{text(str(error), head=200)}</p>"
    small = " class=small" if max(image.size) <= _SMALL else ""
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "webp", quality=78)
    coded = base64.b64encode(file.getvalue()).decode()
    shown = (
        f'<img{small} width={image.width} height={image.height} alt="" loading=lazy decoding=async '
        f'src="data:image/webp;base64,{coded}">'
    )
    return f'<a href="{link}">{shown}</a>' if link else shown


def _video(medium: Medium, link: str) -> str:
    assert isinstance(medium.source, Path)
    frames = film_strip(medium.source, MediaConfig())
    poster = f' poster="{frames[0]}"' if frames else ""
    strip = "".join(f'<img alt="" src="{frame}">' for frame in frames)
    return (
        f'<div class=strip><a href="{link}">{strip}</a></div><details class=player>'
        f"<summary>play</summary><video controls loop muted playsinline preload=none{poster} "
        f'src="{link}"></video></details>'
    )


def _audio(medium: Medium, link: str) -> str:
    assert isinstance(medium.source, Path)
    seen = spectrogram(medium.source, MediaConfig())
    drawn = f"<div class=spectrogram style=\"mask-image:url('{seen}')\"></div>" if seen else ""
    return f'<div class=sound>{drawn}<audio controls preload=none src="{link}"></audio></div>'
