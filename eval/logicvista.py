"""LogicVista (arXiv 2407.04973): 448 puzzles of five reasoning skills, with one or several right
letters.

`official` compares the sorted letters that a language model extracts; in its place stands an
extraction that comes with the response, a bare list of letters, or what an answer tag, a box or a
phrase names. `strict` reads the same, and "A or C" is ambiguous.
"""

from __future__ import annotations

from pathlib import Path
from string import ascii_uppercase, digits

from eval._shared import groups_of, media_key, qwen, record_id
from mmrl.evals.benchmark import (
    Benchmark,
    Item,
    Message,
    Published,
    Record,
    Response,
    Score,
    Split,
    register,
    unanswered,
    user_turn,
)
from mmrl.evals.scorers.mcq import score_letter, score_letter_set

LETTERS = ascii_uppercase + digits
ASKED = "End with the letter, or all the letters, of the right choice in <answer> and </answer>."


def read_item(record: Record) -> Item:
    """Read a record of dataset.json, whose key is its id, or of the hub's table."""
    return Item(
        id=record_id(record, "question_id", "id"),
        answer=record.get("answer"),
        fields=record,
        groups=groups_of(record, skill="skill", capability="capability"),
        cluster=media_key(record.get("imagename")),
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the picture, ask, and say how to answer."""
    record = item.fields
    picture = record.get("image") or f"images/{record['imagename']}"
    return user_turn(("image", picture), f"{record['question']}\n{ASKED}")


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by its set of letters."""
    gold = str(item.answer)
    if mode == "strict" or response.extraction is None:
        scored = score_letter_set(response, gold, letters=LETTERS)
        return scored if mode == "strict" or scored.status == "ok" else unanswered()
    ours, right = (
        ", ".join(sorted(part.strip().lower() for part in text.split(",")))
        for text in (response.extraction, gold)
    )
    return score_letter(ours.upper(), right.upper(), "extraction")


register(
    Benchmark(
        name="logicvista",
        version="1",
        summary="Visual puzzles of five reasoning skills; one or several letters.",
        hub="lscpku/LogicVista",
        splits=(
            Split(name="test", files=("dataset.json", "data/*.parquet", "*.jsonl"), count=448),
        ),
        item=read_item,
        prompt=prompt,
        score=score,
        groups=("skill", "capability"),
        published=(
            *qwen(47.9, 55.3, 65.1),
            Published(model="OMR-7B", value=50.0, source="OpenMMReasoner repository"),
        ),
        notes=(
            "official extracts by fixed rules in place of the authors' language model, unless the "
            "responses come with an extraction",
            "the sentence that asks for a tag is not the authors'",
            "the columns of the hub's table were not seen",
        ),
    )
)
