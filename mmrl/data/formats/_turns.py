"""Conversations of several turns, whose last reply is the one to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmrl.answer import as_text
from mmrl.data.format import Misfit, Record
from mmrl.data.formats._fields import place, said_answer, unplace
from mmrl.types import Medium, Row

_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


def read_turns(
    turns: Sequence[Any], media: Mapping[str, list[Any]], *, role_key: str, text_key: str
) -> tuple[list[Record], str | None]:
    """Return the prompt, and the last reply where there is one.

    Args:
        turns: Who speaks and what is said; `<image>`, `<video>`, `<audio>` say where media stand.
        media: By kind, in the order of the whole conversation.
        role_key: The key of who speaks.
        text_key: The key of what is said.
    """
    said: list[tuple[str, str]] = []
    for turn in turns:
        text = turn.get(text_key) if isinstance(turn, Mapping) else None
        role = turn.get(role_key) if isinstance(turn, Mapping) else None
        if not isinstance(text, str) or not isinstance(role, str):
            raise Misfit(f"a turn without a text as its {text_key!r}")
        if role not in _ROLES:
            raise Misfit(f"a turn of {role!r}, who is none of {', '.join(_ROLES)}")
        said.append((_ROLES[role], text))
    reply = said.pop()[1] if said and said[-1][0] == "assistant" else None
    if not said or said[-1][0] != "user":
        raise Misfit("no question before the last reply")
    left = {kind: list(items) for kind, items in media.items()}
    ask = next(number for number, (role, _) in enumerate(said) if role == "user")
    prompt = [
        {"role": role, "content": place(text, _mine(text, left, said, first=number == ask))}
        for number, (role, text) in enumerate(said)
    ]
    if any(left.values()):
        raise Misfit("more media than places for them in the conversation")
    return prompt, reply


def write_turns(row: Row, *, names: Mapping[str, str], role_key: str, text_key: str) -> Any:
    """Return the row's conversation with its response, or its answer, as the last reply; and its
    media by kind.
    """
    turns: list[Record] = []
    media: dict[str, list[Medium]] = {}
    for message in row.prompt:
        text, found = unplace(message["content"])
        turns.append({role_key: names[message["role"]], text_key: text})
        for kind, items in found.items():
            media.setdefault(kind, []).extend(items)
    reply = as_text(row.answer) if row.response is None else row.response
    return [*turns, {role_key: names["assistant"], text_key: reply}], media


def free_answer(reply: str | None) -> Record:
    """Return what a reply makes of a row: its response, its answer, and a verifier of free text."""
    if not reply or not reply.strip():
        raise Misfit("there is no reply to learn")
    answer = said_answer(reply)
    kind = "text" if len(answer.split()) > 1 else "exact"
    return {"response": reply, "answer": answer, "verifier": kind}


def _mine(
    text: str, left: dict[str, list[Any]], said: Sequence[tuple[str, str]], *, first: bool
) -> dict[str, list[Any]]:
    """Take the media of one turn; those without a place anywhere belong to the first question."""
    mine: dict[str, list[Any]] = {}
    for kind, items in left.items():
        nowhere = not any(f"<{kind}>" in other for _, other in said)
        count = len(items) if first and nowhere else text.count(f"<{kind}>")
        mine[kind], left[kind] = items[:count], items[count:]
    return mine
