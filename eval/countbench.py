"""CountBenchQA (arXiv 2302.12066; the questions are of PaliGemma's authors): how many of something
a picture shows, two to ten.

`official` is lmms-eval's rule, as there is no scorer of the authors: the whole response is the
number. `strict` reads digits or English words.
"""

from __future__ import annotations

from pathlib import Path

from eval._shared import numbered, qwen, record_id
from mmrl.evals.benchmark import (
    Benchmark,
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


def read_item(record: Record) -> Item:
    """Read a record; it has no id."""
    number = record.get("number")
    return Item(
        id=record_id(record, "id"),
        answer=None if number is None else int(number),
        fields=record,
        groups={} if number is None else {"number": str(int(number))},
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the picture and ask."""
    return user_turn(("image", item.fields["image"]), str(item.fields["question"]))


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by its number."""
    if item.answer is None:
        raise ValueError("the record has no number")
    if mode == "strict":
        return score_count(response, item.answer)
    text = (response.text if response.extraction is None else response.extraction).strip()
    if not text:
        return unanswered()
    return judged(text == str(item.answer), answer=text[:200], normalised=text[:200], how="whole")


register(
    Benchmark(
        name="countbench",
        version="1",
        summary="How many of something a picture shows; an exact number.",
        hub="vikhyatk/CountBenchQA",
        splits=(Split(name="test", files=("data/test-*.parquet", "test.*"), count=491),),
        records=numbered,
        item=read_item,
        prompt=prompt,
        score=score,
        groups=("number",),
        published=qwen(None, 80.5, 91.5),
        notes=(
            "official is lmms-eval's rule: 'There are 5' is wrong",
            "records have no ids; an item's id is its place in the split",
        ),
    )
)
