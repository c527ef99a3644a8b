"""A row's prompt as messages of the OpenAI protocol; media travel as data URLs, encoded as they
are.
"""

from __future__ import annotations

import base64
from typing import Any

from mmrl.config.schema import MediaConfig
from mmrl.errors import DataError
from mmrl.media.encoded import check_encoded, read_encoded
from mmrl.types import Medium, Row

_MIME = {"mov": "video/mp4", "matroska": "video/webm", "avi": "video/x-msvideo", "ogg": "video/ogg"}


def chat_messages(
    row: Row, media: MediaConfig, *, system: str | None = None
) -> list[dict[str, Any]]:
    """Return the messages.

    Raises:
        DataError: a medium is not there, or not of its kind.
    """
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for message in row.prompt:
        parts = [
            dict(part) if part["type"] == "text" else _part(part[part["type"]], media, row.id)
            for part in message["content"]
        ]
        messages.append({"role": message["role"], "content": parts})
    return messages


def _part(medium: Medium, media: MediaConfig, row_id: str) -> dict[str, Any]:
    name = check_encoded(medium, media, row_id).name
    data = base64.b64encode(read_encoded(medium, row_id)).decode()
    if medium.kind == "audio":
        if name not in ("WAV", "MP3", "FLAC", "ogg"):
            raise DataError(f"row {row_id}: a sound of the kind {name} cannot be sent; use WAV")
        return {"type": "input_audio", "input_audio": {"data": data, "format": name.lower()}}
    mime = _MIME.get(name, f"{medium.kind}/{name.lower()}")
    key = f"{medium.kind}_url"
    return {"type": key, key: {"url": f"data:{mime};base64,{data}"}}
