"""MathVerse (arXiv 2403.14624): 788 problems of geometry and functions in five versions, from all
in the text to all in the picture.

The published number has a language model extract and another call of it compare. Neither is here:
`official` is the repository's quick match, text equality of the extraction and the gold answer,
with fixed rules in place of the extracting model where no extraction is given; `strict` compares
options by meaning and free answers as mathematics. The headline is the mean over the versions.
"""

from __future__ import annotations

import re
from pathlib import Path

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
from mmrl.evals.reading import find_answer, read_choice, score_choice
from mmrl.evals.scorers.maths import read_formula, score_math
from mmrl.evals.scorers.means import mean_over

LETTERS = "ABCDEFGH"
_CHOICE = re.compile(r"^\s*([A-H])\s*[:.)]\s*(.*)$", re.MULTILINE)


def read_item(record: Record) -> Item:
    """Read a record of the hub or of testmini.json; options stand in the question."""
    metadata = record.get("metadata") or {}
    groups = groups_of({**metadata, **record}, version="problem_version", kind="question_type")
    groups |= groups_of(metadata, subject="subject", subfield="subfield")
    text = str(record.get("question") or record.get("query_wo") or "")
    return Item(
        id=record_id(record, "sample_index"),
        answer=record.get("answer"),
        choices=options_in(text),
        fields=record,
        groups=groups,
        cluster=str(record.get("problem_index") or ""),
    )


def options_in(question: str) -> tuple[str, ...]:
    """Return the options' texts that a question ends with.

    >>> options_in("Find x.\\nChoices:\\nA:40\u00b0\\nB:50\u00b0")
    ('40\u00b0', '50\u00b0')
    """
    _, found, tail = question.rpartition("Choices:")
    options = _CHOICE.findall(tail) if found else []
    if "".join(letter for letter, _ in options) != LETTERS[: len(options)]:
        return ()
    return tuple(text.strip() for _, text in options)


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the picture, if the version has one, and the data set's own query without reasoning."""
    record = item.fields
    text = str(record.get("query_wo") or record["question"])
    return user_turn(("image", record["image"]), text) if record.get("image") else user_turn(text)


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by choice or as a free answer."""
    gold = str(item.answer).strip()
    if not gold:
        raise ValueError("the record has no answer")
    if mode == "official":
        return _quick_match(item, response, gold)
    if _by_choice(item):
        return score_choice(item, response, gold=gold, letters=LETTERS)
    return score_math(response, gold)


def _quick_match(item: Item, response: Response, gold: str) -> Score:
    found = find_answer(response)
    if response.extraction is not None or found.how in ("tag", "boxed"):
        extraction, how = found.text, found.how
    elif _by_choice(item):
        choice = read_choice(found, item.choices, LETTERS)
        extraction, how = choice.letter, choice.how
    else:
        extraction, how = read_formula(found, gold)
    if not extraction:
        return unanswered(answer=found.text[-200:] or None)
    return judged(extraction == gold, answer=extraction[:200], normalised=extraction[:200], how=how)


def _by_choice(item: Item) -> bool:
    kind = item.fields.get("question_type")
    return kind == "multi-choice" if kind else bool(item.choices)


register(
    Benchmark(
        name="mathverse",
        version="1",
        summary="Geometry and functions in five versions, from text to picture; scored by rules.",
        hub="AI4Math/MathVerse",
        splits=(
            Split(
                name="testmini",
                config="testmini",
                files=("testmini.json", "testmini.jsonl", "testmini.parquet"),
                count=3940,
            ),
            Split(
                name="testmini_text_only",
                config="testmini_text_only",
                files=(
                    "testmini_text_only.json",
                    "testmini_text_only.jsonl",
                    "testmini_text_only.parquet",
                ),
                count=788,
            ),
        ),
        item=read_item,
        prompt=prompt,
        score=score,
        aggregate=mean_over("version"),
        groups=("version", "kind", "subject", "subfield"),
        published=(
            *qwen(49.2, 62.1, 77.7, "judged by a language model"),
            *(
                Published(
                    model=model,
                    value=value,
                    source="OpenMMReasoner repository",
                    setting="judged by a language model",
                )
                for model, value in (
                    ("OMR-7B", 63.8),
                    ("VL-Rethinker-7B", 46.4),
                    ("MM-Eureka-7B", 45.4),
                    ("ThinkLite-VL-7B", 42.9),
                )
            ),
        ),
        notes=(
            "scored by rules: not the published number, in which a language model extracts and "
            "compares",
            "official is the repository's quick match, exact text equality",
            "for Qwen2.5-VL-7B others report 31.2 to 41.1 with other judges and prompts",
        ),
    )
)
