"""SuperCLEVR counting, as R1-V tests it: how many things stand in a rendered scene, 200 questions.

`official`: the first `<answer>` tag that holds nothing but a whole number. `strict` reads digits or
English words, in a tag or without.
"""

from __future__ import annotations

import re
from pathlib import Path

from eval._shared import media_key, numbered, record_id
from mmrl.evals.benchmark import (
    Benchmark,
    Decoding,
    Item,
    Message,
    Record,
    Response,
    Score,
    Split,
    judged,
    register,
    unanswered,
    user_turn,
)
from mmrl.evals.scorers.numbers import score_count

ASKED = (
    "First output the thinking process in <think> </think> and final answer (number) in <answer> "
    "</answer> tags."
)
_TAGGED = re.compile(r"<answer>\s*+(\d{1,4000})\s*+</answer>")


def read_item(record: Record) -> Item:
    """Read a record; its place in the file is its id."""
    return Item(
        id=record_id(record, "id"),
        answer=record.get("ground_truth"),
        fields=record,
        cluster=media_key(record.get("image_path")),
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the scene, ask, and say how to answer."""
    record = item.fields
    return user_turn(("image", record["image_path"]), f"{record['question']} {ASKED}")


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by its number."""
    gold = int(item.answer)
    if mode == "strict":
        return score_count(response, gold)
    text = (
        response.text if response.extraction is None else f"<answer>{response.extraction}</answer>"
    )
    found = _TAGGED.search(text)
    if not found:
        return unanswered()
    number = int(found[1])
    return judged(number == gold, answer=found[1], normalised=str(number), how="tag")


register(
    Benchmark(
        name="superclevr",
        version="1",
        summary="Counting in rendered scenes, 200 questions of R1-V.",
        hub="",
        splits=(
            Split(name="test", files=("superclevr_test200_counting_problems.jsonl",), count=200),
        ),
        records=numbered,
        item=read_item,
        prompt=prompt,
        score=score,
        decoding=Decoding(max_new_tokens=2048),
        notes=(
            "questions are in R1-V's repository, pictures in tobiaslee/Super_clevr200",
            "200 questions: a score of 50 % is known to within 6.9 points",
            "no published number is known to us",
        ),
    )
)
