"""ScienceQA (arXiv 2209.09513): school questions of science, about half with a picture.

`official` is LLaVA's rule, which lmms-eval keeps: the whole response is the letter, or begins with
a capital letter and a full stop; the paper's own scorer was made for fine-tuned models. `strict`
reads what the response means.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase

from eval._shared import LETTER_ONLY, groups_of, numbered, record_id
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
from mmrl.evals.reading import score_choice
from mmrl.evals.scorers.mcq import lettered, score_letter


def read_item(record: Record) -> Item:
    """Read a record; its answer is the place of the right choice."""
    groups = groups_of(record, subject="subject", grade="grade", topic="topic", category="category")
    return Item(
        id=record_id(record, "id", "question_id"),
        answer=record.get("answer"),
        choices=tuple(map(str, record.get("choices") or ())),
        fields=record,
        groups=groups | {"picture": "yes" if record.get("image") else "no"},
    )


def records(source: Path | str, split: Split) -> Iterator[Record]:
    """Yield the records of a split, all of them or those with a picture."""
    for record in numbered(source, split):
        if record.get("image") or not split.name.endswith("_image"):
            yield record


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the picture, if there is one, the context, if there is one, and the question."""
    record = item.fields
    context = [f"Context: {record['hint']}"] if record.get("hint") else []
    text = "\n".join([*context, str(record["question"]), *lettered(item.choices), LETTER_ONLY])
    return user_turn(("image", record["image"]), text) if record.get("image") else user_turn(text)


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by the letter it gives.

    Raises:
        ValueError: the answer is no place among the choices.
    """
    place = int(item.answer)
    if not 0 <= place < len(item.choices):
        raise ValueError(f"answer {place} is no place among {len(item.choices)} choices")
    gold = ascii_uppercase[place]
    if mode == "strict":
        return score_choice(item, response, gold=gold)
    text = response.text if response.extraction is None else response.extraction
    if text == gold:
        return score_letter(gold, gold, "whole")
    if len(text) >= 2 and text[0].isupper() and text[1] == ".":
        return score_letter(text[0], gold)
    if not text.strip():
        return unanswered()
    return judged(False, answer=text[:200], normalised=text[:200], how="whole")


_FILES = ("test.jsonl", "test.json", "test.parquet", "data/test-*.parquet", "test-*.parquet")

register(
    Benchmark(
        name="scienceqa",
        version="1",
        summary="School science by choice, with and without pictures.",
        hub="derek-thomas/ScienceQA",
        splits=(
            Split(name="test", files=_FILES, count=4241),
            Split(name="test_image", hub="test", files=_FILES, count=2017),
        ),
        records=records,
        item=read_item,
        prompt=prompt,
        score=score,
        groups=("subject", "grade", "topic", "picture"),
        notes=(
            "official is the rule of LLaVA and lmms-eval, not of the paper",
            "records have no ids; an item's id is its place in the split",
        ),
    )
)
