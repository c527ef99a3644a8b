"""MMMU-Pro (arXiv 2409.02813): MMMU's questions that need their pictures, with ten options, and
once more as one picture that holds the whole question.

`official` takes the one option that stands after the last "Answer:", else MMMU's parser in its
laxer form, else a random option, whose average worth stands here. `strict` reads what the response
means. The paper's overall number is the mean of standard_10 and vision.
"""

from __future__ import annotations

from pathlib import Path

from eval._shared import groups_of, interleaved, qwen
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
    user_turn,
)
from mmrl.evals.reading import score_choice
from mmrl.evals.scorers.mcq import guess, lettered, mmmu_letter, read_options, score_letter

_FORM = (
    "The last line of your response should be of the following format: 'Answer: $LETTER' (without "
    "quotes) where LETTER is one of options. Think step by step before answering."
)
STANDARD = f"Answer the preceding multiple choice question. {_FORM}"
VISION = f"Write out the multiple-choice question in the image and then solve it. {_FORM}"


def read_item(record: Record) -> Item:
    """Read a record; its options are the text of a list."""
    return Item(
        id=str(record["id"]),
        answer=record.get("answer"),
        choices=read_options(record.get("options")),
        fields=record,
        groups=groups_of(record, subject="subject", difficulty="topic_difficulty"),
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Ask with the pictures where their marks stand, or with the one that holds the question."""
    record = item.fields
    if record.get("question") is None:
        return user_turn(VISION, ("image", record["image"]))
    lines = [str(record["question"]), *lettered(item.choices), STANDARD]
    return interleaved("\n".join(lines), record)


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by the letter it gives."""
    if mode == "strict":
        return score_choice(item, response, gold=str(item.answer))
    text = response.text if response.extraction is None else response.extraction
    letter, how = mmmu_letter(text, item.choices, pro=True)
    return score_letter(letter, str(item.answer), how) if letter else guess(item)


def _split(name: str, config: str) -> Split:
    files = (f"{config}/test-*.parquet", f"{name}.jsonl", f"{name}.json", f"{name}.parquet")
    return Split(name=name, hub="test", config=config, files=files, count=1730)


register(
    Benchmark(
        name="mmmu_pro",
        version="1",
        summary="MMMU's harder half with ten options, in text or within the picture.",
        hub="MMMU/MMMU_Pro",
        splits=(
            _split("standard_10", "standard (10 options)"),
            _split("vision", "vision"),
            _split("standard_4", "standard (4 options)"),
        ),
        item=read_item,
        prompt=prompt,
        score=score,
        groups=("subject", "difficulty"),
        published=(
            *qwen(38.3, 55.9, 60.4, "mean of standard_10 and vision"),
            *(
                Published(
                    model="OMR-7B",
                    value=value,
                    source="OpenMMReasoner repository",
                    setting=setting,
                )
                for value, setting in ((44.1, "standard"), (40.6, "vision"))
            ),
        ),
        notes=(
            "the published overall number is the mean of standard_10 and vision: run both",
            "official picks a random option where it finds none; here it is worth its average, "
            "one over the number of options (how=fallback)",
            "the prompt is the one with reasoning",
        ),
    )
)
