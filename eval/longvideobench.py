"""LongVideoBench (arXiv 2407.15754): questions that refer to a moment of a video of up to one hour.

`official`: the first capital A to E anywhere, once phrases such as "The answer is" are cut out,
else a random option, whose average worth stands here. `strict` reads what the response means.
"""

from __future__ import annotations

from pathlib import Path
from string import ascii_uppercase

from eval._shared import LETTER_ONLY, groups_of, qwen, record_id
from mmrl.evals.benchmark import (
    Benchmark,
    Item,
    Message,
    Record,
    Response,
    Score,
    Split,
    register,
    user_turn,
)
from mmrl.evals.reading import score_choice
from mmrl.evals.scorers.mcq import VIDEO_PREFIXES, first_letter, guess, lettered, score_letter

LETTERS = "ABCDE"
PREFIXES = (
    *VIDEO_PREFIXES,
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
)


def read_item(record: Record) -> Item:
    """Read a record of lvb_val.json, or of the hub, which has option0 to option4 with N/A."""
    candidates = record.get("candidates") or [
        record[key]
        for key in (f"option{place}" for place in range(5))
        if record.get(key) not in (None, "N/A")
    ]
    return Item(
        id=record_id(record, "id"),
        answer=record.get("correct_choice"),
        choices=tuple(map(str, candidates)),
        fields=record,
        groups=groups_of(
            record,
            duration="duration_group",
            question="question_category",
            topic="topic_category",
        ),
        cluster=str(record.get("video_id") or record.get("video_path") or ""),
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the video, then the question with its options."""
    record = item.fields
    lines = [f"Question: {record['question']}", *lettered(item.choices), LETTER_ONLY]
    return user_turn(("video", f"videos/{record['video_path']}"), "\n".join(lines))


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by the letter it gives.

    Raises:
        ValueError: the record does not say which choice is right, as in the test split.
    """
    place = -1 if item.answer is None else int(item.answer)
    if not 0 <= place < len(item.choices):
        raise ValueError(f"correct_choice {item.answer!r} is no place among the candidates")
    gold = ascii_uppercase[place]
    if mode == "strict":
        return score_choice(item, response, gold=gold)
    text = response.text if response.extraction is None else response.extraction
    letter = first_letter(text.strip(), LETTERS, PREFIXES)
    return score_letter(letter, gold) if letter else guess(item)


register(
    Benchmark(
        name="longvideobench",
        version="1",
        summary="Questions on moments of long videos; two to five options.",
        hub="longvideobench/LongVideoBench",
        splits=(
            Split(
                name="val",
                hub="validation",
                files=("lvb_val.json", "val.jsonl", "validation-*.parquet"),
                count=1337,
            ),
            Split(name="test", files=("lvb_test_wo_gt.json", "test-*.parquet"), count=5341),
        ),
        item=read_item,
        prompt=prompt,
        score=score,
        groups=("duration", "question", "topic"),
        media=frozenset({"video"}),
        published=qwen(56.0),
        notes=(
            "official picks a random option where it finds none; here it is worth its average, "
            "one over the number of options (how=fallback)",
            "official takes the first capital letter: 'According to' is A",
            "subtitles are not put between the frames, as the authors' loader does",
            "test has no public answers",
        ),
    )
)
