"""LLaVA: `image` or `video`, and `conversations` of `human` and `gpt`.

The prompt is what precedes the last reply; that reply is the row's response. A reply of several
words is compared as free text, one word exactly: `verifier=` says otherwise.
"""

from __future__ import annotations

from mmrl.data.format import Format, Misfit, Origin, Record, register_format
from mmrl.data.formats._fields import media_list, take
from mmrl.data.formats._turns import free_answer, read_turns, write_turns
from mmrl.types import Row

_NAMES = {"user": "human", "assistant": "gpt", "system": "system"}


def read(record: Record, origin: Origin) -> Record:
    """Read one record."""
    media = {kind: media_list(record.pop(kind, None), kind) for kind in ("image", "video", "audio")}
    turns = take(record, "conversations", list)
    prompt, reply = read_turns(turns, media, role_key="from", text_key="value")
    row: Record = {"prompt": prompt, **free_answer(reply)}
    number = take(record, "id", (str, int), None)
    return row if number is None else {**row, "id": str(number)}


def write(row: Row) -> Record:
    """Write one record; several images are a list."""
    turns, media = write_turns(row, names=_NAMES, role_key="from", text_key="value")
    if row.prompt[0]["role"] == "system":
        raise Misfit("LLaVA's conversations have no system message")
    record: Record = {"id": row.id, "conversations": turns}
    for kind, items in media.items():
        record[kind] = items[0] if len(items) == 1 else items
    return record


register_format(
    Format(
        name="llava",
        summary="LLaVA: image or video and conversations, in JSON",
        read=read,
        write=write,
        suffixes=(".json", ".jsonl"),
    )
)
