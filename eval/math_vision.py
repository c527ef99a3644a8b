"""MATH-Vision (arXiv 2402.14804): competition problems with pictures, of 16 subjects and five
levels.

`official` follows the repository's rules: letters at the beginning or end, text after "the answer
is", the last box, cleaned of LaTeX, equal to the gold letter or to that option's value, numbers to
two decimals. Its evaluation of model text as Python is replaced by reading numbers and by
math-verify. `strict` compares options by meaning and free answers as mathematics.
"""

from __future__ import annotations

from pathlib import Path
from string import ascii_uppercase

from eval._math_vision_rules import extract, is_equal
from eval._shared import groups_of, qwen, record_id
from mmrl.evals.benchmark import (
    Benchmark,
    Item,
    Message,
    Published,
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
from mmrl.evals.scorers.maths import Unjudged, score_math
from mmrl.evals.scorers.mcq import lettered, read_options

ASKED = (
    'Please solve the problem and put your answer in one "\\boxed{}". If it is a multiple choice '
    'question, only one letter is allowed in the "\\boxed{}".'
)


def read_item(record: Record) -> Item:
    """Read a record; its options are a list, empty for free answers."""
    return Item(
        id=record_id(record, "id"),
        answer=record.get("answer"),
        choices=read_options(record.get("options")),
        fields=record,
        groups=groups_of(record, subject="subject", level="level"),
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the picture and ask for an answer in a box; options that are mere letters stand in the
    picture.
    """
    record = item.fields
    pictured = "".join(item.choices) == ascii_uppercase[: len(item.choices)]
    options = [] if pictured else lettered(item.choices, "({letter}) {text}")
    picture = record.get("decoded_image") or record["image"]
    text = "\n".join([ASKED, str(record["question"]), *options])
    return user_turn(("image", picture), text)


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by choice or as a free answer."""
    gold = str(item.answer).strip()
    if not gold:
        raise ValueError("the record has no answer")
    if mode == "strict":
        return (
            score_choice(item, response, gold=gold) if item.choices else score_math(response, gold)
        )
    answer = extract(response.text) if response.extraction is None else response.extraction
    if not answer:
        return unanswered()
    place = ascii_uppercase.find(gold) if item.choices and len(gold) == 1 else -1
    value = item.choices[place] if 0 <= place < len(item.choices) else ""
    try:
        correct = is_equal(gold, answer) or is_equal(value, answer)
    except Unjudged as error:
        return unanswered("error", answer=answer[:200], detail=str(error))
    return judged(correct, answer=answer[:200], normalised=answer[:200], how="rules")


def _split(name: str, count: int) -> Split:
    return Split(name=name, files=(f"{name}.*", f"data/{name}-*.parquet"), count=count)


def _reported(model: str, value: float) -> Published:
    return Published(model=model, value=value, source="OpenMMReasoner repository")


register(
    Benchmark(
        name="mathvision",
        version="1",
        summary="Competition problems with pictures, of 16 subjects and five levels.",
        hub="MathLLMs/MathVision",
        splits=(_split("test", 3040), _split("testmini", 304)),
        item=read_item,
        prompt=prompt,
        score=score,
        groups=("subject", "level"),
        published=(
            *qwen(25.1, 53.9, 62.7),
            _reported("OMR-7B", 43.6),
            _reported("VL-Rethinker-7B", 28.4),
            _reported("MM-Eureka-7B", 28.1),
            _reported("ThinkLite-VL-7B", 24.6),
        ),
        notes=("official compares formulas with math-verify where the authors evaluate Python",),
    )
)
