"""ShareGPT as LLaMA-Factory reads it: `conversations` of `human` and `gpt`, `system`, and the lists
`images`, `videos` and `audios`.

The prompt is what precedes the last reply; that reply is the row's response.
"""

from __future__ import annotations

from mmrl.data.format import Format, Origin, Record, register_format
from mmrl.data.formats._fields import PLURALS, media_list, take
from mmrl.data.formats._turns import free_answer, read_turns, write_turns
from mmrl.types import Row

_NAMES = {"user": "human", "assistant": "gpt", "system": "system"}


def read(record: Record, origin: Origin) -> Record:
    """Read one record; `messages` with `role` and `content` are taken as well."""
    media = {kind: media_list(record.pop(key, None), key) for key, kind in PLURALS.items()}
    if "messages" in record:
        turns, keys = take(record, "messages", list), ("role", "content")
    else:
        turns, keys = take(record, "conversations", list), ("from", "value")
    system = take(record, "system", str, "")
    if system:
        turns = [{keys[0]: "system", keys[1]: system}, *turns]
    prompt, reply = read_turns(turns, media, role_key=keys[0], text_key=keys[1])
    row: Record = {"prompt": prompt, **free_answer(reply)}
    number = take(record, "id", (str, int), None)
    return row if number is None else {**row, "id": str(number)}


def write(row: Row) -> Record:
    """Write one record; a system message goes into `system`."""
    turns, media = write_turns(row, names=_NAMES, role_key="from", text_key="value")
    record: Record = {"id": row.id}
    if turns[0]["from"] == "system":
        record["system"] = turns.pop(0)["value"]
    record["conversations"] = turns
    return record | {f"{kind}s": items for kind, items in media.items()}


register_format(
    Format(
        name="sharegpt",
        summary="ShareGPT: conversations, system, images, videos and audios, in JSON",
        read=read,
        write=write,
        suffixes=(".json", ".jsonl"),
    )
)
