"""Video-R1 (arXiv 2503.21776): `problem`, `options`, `solution`, `path`, and a `problem_type` that
says how answers are judged. `process`, where there is one, is the thinking of a cold start.
"""

from __future__ import annotations

from typing import Any

from mmrl.data.format import Format, Misfit, Origin, Record, register_format
from mmrl.data.formats._fields import (
    MEDIUM,
    before_text,
    media_first,
    said_answer,
    tagged_answer,
    take,
)
from mmrl.types import Row

_VERIFIERS: dict[str, Record] = {
    "multiple choice": {"name": "choice", "params": {}},
    "numerical": {"name": "number", "params": {"decimals": 2, "same_style": True}},
    "OCR": {"name": "text", "params": {"metric": "wer"}},
    "free-form": {"name": "text", "params": {"metric": "rouge"}},
    "regression": {"name": "regression", "params": {}},
}
_OPTIONS = "Options:\n"


def read(record: Record, origin: Origin) -> Record:
    """Read one record; the options stand in the question as Video-R1 writes them there."""
    kind = take(record, "data_type")
    problem_type = take(record, "problem_type")
    solution = take(record, "solution")
    text = take(record, "problem")
    options = take(record, "options", list, [])
    if kind not in ("image", "video"):
        raise Misfit(f"data_type {kind!r} is neither image nor video")
    if problem_type not in _VERIFIERS:
        raise Misfit(f"problem_type {problem_type!r} is none of {', '.join(_VERIFIERS)}")
    extra: Record = {"problem_type": problem_type}
    if options and problem_type == "multiple choice":
        text = f"{text}{_OPTIONS}" + "".join(f"{option}\n" for option in options)
        extra["choices"] = options
    elif options:
        extra["options"] = options
    content = before_text({kind: [take(record, "path", MEDIUM)]}, text)
    row: Record = {
        "source": take(record, "data_source", str, origin.name),
        "prompt": [{"role": "user", "content": content}],
        "answer": said_answer(solution),
        "verifier": _VERIFIERS[problem_type],
        "extra": extra,
    }
    number = take(record, "problem_id", (int, str), None)
    if number is not None:
        row["id"] = str(number)
    process = take(record, "process", str, "")
    if process:
        row["response"] = f"{process}\n{solution}"
    return row


def write(row: Row) -> Record:
    """Write one record: one picture or video, then the text."""
    text, media = media_first(row)
    shown = [(kind, medium) for kind, items in media.items() for medium in items]
    if len(shown) != 1 or shown[0][0] == "audio":
        raise Misfit("Video-R1 shows exactly one image or video")
    kind, medium = shown[0]
    problem_type = row.extra.get("problem_type") or _problem_type(row)
    options: Any = row.extra.get("options", [])
    choices = row.extra.get("choices")
    if choices and problem_type == "multiple choice":
        text, found, _ = text.rpartition(_OPTIONS)
        if not found:
            raise Misfit("its options do not stand in its text after 'Options:'")
        options = choices
    record: Record = {
        "problem_id": row.id,
        "problem": text,
        "data_type": kind,
        "problem_type": problem_type,
        "options": options,
        "solution": tagged_answer(row),
        "path": medium,
        "data_source": row.source,
    }
    if row.response:
        process, found, _ = row.response.partition("\n<answer>")
        record |= {"process": process} if found else {}
    return record


def _problem_type(row: Row) -> str:
    name = row.verifier[0].name
    wanted = {"name": name, "params": dict(row.verifier[0].params)}
    near = [kind for kind, term in _VERIFIERS.items() if term == wanted]
    near += [kind for kind, term in _VERIFIERS.items() if term["name"] == name]
    if not near:
        raise Misfit(f"Video-R1 has no problem_type for the verifier {name!r}")
    return near[0]


register_format(
    Format(
        name="video_r1",
        summary="Video-R1: problem, options, solution and path, in JSON",
        read=read,
        write=write,
        suffixes=(".json", ".jsonl"),
    )
)
