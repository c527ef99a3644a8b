"""ms-swift: `messages`, the lists `images`, `videos` and `audios`, and for GRPO a `solution`.

A row's answer is the solution where there is one, else the last reply. `objects` fill the places
`<ref-object>` and `<bbox>`; a reply of boxes alone is an answer for the verifier `box`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mmrl.answer import as_text
from mmrl.data.format import Format, Misfit, Origin, Record, register_format
from mmrl.data.formats._fields import PLURALS, media_list, said_answer, take
from mmrl.data.formats._turns import free_answer, read_turns, write_turns
from mmrl.types import Row

_NAMES = {"user": "user", "assistant": "assistant", "system": "system"}
_PLACE = re.compile("<ref-object>|<bbox>")
_SPACES = {"real": "pixel", "norm1": "unit"}


def read(record: Record, origin: Origin) -> Record:
    """Read one record; where only a solution says the answer, it is compared as mathematics."""
    media = {kind: media_list(record.pop(key, None), key) for key, kind in PLURALS.items()}
    turns = take(record, "messages", list)
    objects = take(record, "objects", Mapping, None)
    boxes: list[Any] = []
    if objects is not None:
        turns, boxes = _filled(turns, objects)
    prompt, reply = read_turns(turns, media, role_key="role", text_key="content")
    solution = take(record, "solution", (str, int, float, list), None)
    row: Record = {"prompt": prompt}
    if boxes and reply is not None:
        answer = boxes[0] if len(boxes) == 1 else boxes
        space = _SPACES.get(str((objects or {}).get("bbox_type", "real")))
        if space is None or len(boxes) > 1:
            raise Misfit("objects that are not one box in pixels or shares")
        row |= {"answer": answer, "response": reply, "verifier": "box", "coordinates": space}
    elif solution is None:
        row |= free_answer(reply)
    else:
        answer = said_answer(solution) if isinstance(solution, str) else solution
        row |= {"answer": answer, "response": reply, "verifier": "math"}
    number = take(record, "id", (str, int), None)
    return row if number is None else {**row, "id": str(number)}


def write(row: Row) -> Record:
    """Write one record for GRPO: the messages end with the question unless there is a response."""
    turns, media = write_turns(row, names=_NAMES, role_key="role", text_key="content")
    if row.response is None:
        turns.pop()
    record: Record = {"id": row.id, "messages": turns, "solution": as_text(row.answer)}
    return record | {f"{kind}s": items for kind, items in media.items()}


def _filled(turns: list[Any], objects: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Put names and boxes into their places; return the boxes of a last reply of boxes alone."""
    left = {"<ref-object>": list(objects.get("ref") or [])}
    left["<bbox>"] = list(objects.get("bbox") or [])

    def fill(match: re.Match[str]) -> str:
        items = left[match.group()]
        if not items:
            raise Misfit(f"more {match.group()} in the messages than there are objects")
        item = items.pop(0)
        return item if isinstance(item, str) else str(item)

    boxes: list[Any] = []
    found = []
    for number, turn in enumerate(turns):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str):
            raise Misfit("a message without a text as its content")
        text = turn["content"]
        last = number == len(turns) - 1 and turn.get("role") == "assistant"
        if last and text.strip() and not text.replace("<bbox>", "").strip():
            boxes = left["<bbox>"][: text.count("<bbox>")]
        found.append({**turn, "content": _PLACE.sub(fill, text)})
    return found, boxes


register_format(
    Format(
        name="ms_swift",
        summary="ms-swift: messages, images, videos, audios and solution, in JSONL",
        read=read,
        write=write,
        suffixes=(".jsonl", ".json"),
    )
)
