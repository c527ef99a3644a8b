"""VLM-R1: `image`, and `conversations` of a question and its solution; `accu_reward_method` says
how answers are judged. Images stand before the text, wherever `<image>` stands in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mmrl.answer import as_text
from mmrl.data.format import Format, Misfit, Origin, Record, register_format
from mmrl.data.formats._fields import before_text, media_first, media_list, said_answer, take
from mmrl.types import Row

_METHODS: dict[str, Record] = {
    "default": {"name": "math", "params": {}},
    "math": {"name": "math", "params": {}},
    "mcq": {"name": "choice", "params": {}},
    "yes_no": {"name": "exact", "params": {}},
    "llm": {"name": "judge", "params": {}},
    "map": {"name": "detection", "params": {"ratios": {"map50": 1.0}}},
}
_BOX: Record = {"name": "box", "params": {}}


def read(record: Record, origin: Origin, *, reward_method: str = "default") -> Record:
    """Read one record. An answer of four numbers is a box in pixels."""
    turns = take(record, "conversations", list)
    if len(turns) != 2 or not all(isinstance(turn, Mapping) and "value" in turn for turn in turns):
        raise Misfit("conversations are not a question and its solution")
    question, solution = turns[0]["value"], turns[1]["value"]
    if not isinstance(question, str):
        raise Misfit("the question is no text")
    named = take(record, "accu_reward_method", str, None)
    method = named or reward_method
    if method not in _METHODS:
        raise Misfit(f"accu_reward_method {method!r} is none of {', '.join(_METHODS)}")
    images = media_list(record.pop("image", None), "image")
    text = question.replace("<image>", "")
    content = before_text({"image": images}, text)
    row: Record = {
        "prompt": [{"role": "user", "content": content}],
        "answer": _answer(solution, method),
        "verifier": _METHODS[method],
        "extra": {"accu_reward_method": named} if named else {},
    }
    if isinstance(row["answer"], list) and method == "default":
        row |= {"verifier": _BOX, "coordinates": "pixel"}
    elif method == "map":
        row["coordinates"] = "pixel"
    number = take(record, "id", (str, int), None)
    return row if number is None else {**row, "id": str(number)}


def write(row: Row) -> Record:
    """Write one record."""
    text, media = media_first(row)
    if media.keys() - {"image"}:
        raise Misfit("VLM-R1 shows images only")
    images = media.get("image", [])
    record: Record = {
        "id": row.id,
        "conversations": [
            {"from": "human", "value": "<image>" * len(images) + text},
            {"from": "gpt", "value": _solution(row)},
        ],
        "accu_reward_method": row.extra.get("accu_reward_method") or _method(row),
    }
    if images:
        record["image"] = images[0] if len(images) == 1 else images
    return record


def _answer(solution: Any, method: str) -> Any:
    if not isinstance(solution, str):
        return solution if _is_box(solution) else as_text(solution)
    text = said_answer(solution)
    if method != "map":
        box = _json(text) if method == "default" and text.startswith("[") else None
        return box if _is_box(box) else text
    inside = text.partition("```json")[2].partition("```")[0] or text
    boxes = _json(inside)
    if not isinstance(boxes, list):
        raise Misfit("the solution is no JSON list of boxes")
    return boxes


def _solution(row: Row) -> str:
    text = as_text(row.answer)
    return f"```json\n{text}\n```" if row.verifier[0].name == "detection" else text


def _method(row: Row) -> str:
    name = row.verifier[0].name
    if name == "box":
        return "default"
    found = [method for method, term in _METHODS.items() if term["name"] == name]
    if not found:
        raise Misfit(f"VLM-R1 has no accu_reward_method for the verifier {name!r}")
    return found[0]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(edge, int | float) and not isinstance(edge, bool) for edge in value)
    )


register_format(
    Format(
        name="vlm_r1",
        summary="VLM-R1: image and conversations, in JSONL",
        read=read,
        write=write,
        suffixes=(".jsonl", ".json"),
    )
)
