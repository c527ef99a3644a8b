"""R1-AQA (arXiv 2503.11197): AVQA's questions about sounds, `question_text`, `multi_choice` and
`audio_path`; `answer` is the number of the right choice, from 0 on.
"""

from __future__ import annotations

from mmrl.data.format import Format, Misfit, Origin, Record, register_format
from mmrl.data.formats._fields import MEDIUM, media_first, take
from mmrl.types import Row


def read(record: Record, origin: Origin) -> Record:
    """Read one record. AVQA asks about a video of which only the sound is heard: it says so."""
    asked = take(record, "question_text")
    choices = take(record, "multi_choice", list)
    right = take(record, "answer", int)
    name = take(record, "dataset_name", str, "AVQA")
    if not 0 <= right < len(choices):
        raise Misfit("answer is not the number of a choice")
    heard = asked.replace("video", "audio") if name == "AVQA" else asked
    extra: Record = {"choices": choices, "dataset_name": name}
    if heard != asked:
        extra["question_text"] = asked
    content = [
        {"type": "audio", "audio": take(record, "audio_path", MEDIUM)},
        {"type": "text", "text": f"{heard}{_said(choices)}"},
    ]
    row: Record = {
        "source": name.lower(),
        "prompt": [{"role": "user", "content": content}],
        "answer": choices[right],
        "verifier": "choice",
        "extra": extra,
    }
    number = take(record, "id", (str, int), None)
    return row if number is None else {**row, "id": str(number)}


def write(row: Row) -> Record:
    """Write one record."""
    text, media = media_first(row)
    choices = row.extra.get("choices")
    if media.keys() != {"audio"} or len(media["audio"]) != 1:
        raise Misfit("R1-AQA plays exactly one sound")
    if not isinstance(choices, list) or row.answer not in choices:
        raise Misfit("R1-AQA has choices in extra.choices, and one of them as the answer")
    asked = text.removesuffix(_said(choices))
    if asked == text:
        raise Misfit("its choices do not stand at the end of its text as R1-AQA says them")
    return {
        "id": row.id,
        "question_text": row.extra.get("question_text", asked),
        "multi_choice": choices,
        "answer": choices.index(row.answer),
        "audio_path": media["audio"][0],
        "dataset_name": row.extra.get("dataset_name", row.source),
    }


def _said(choices: list[str]) -> str:
    return f" Please choose the answer from the following options: {choices}."


register_format(
    Format(
        name="r1_aqa",
        summary="R1-AQA: question_text, multi_choice and audio_path, in JSONL",
        read=read,
        write=write,
        suffixes=(".jsonl", ".json"),
    )
)
