"""VSI-Bench (arXiv 2412.14171): distances, sizes, counts, directions and routes from videos of
rooms; five tasks by choice, among them directions at three levels, and four with a number.

`official`: the first word of the response without its final full stop, compared with the letter
without case, or read as a number for mean relative accuracy in binary arithmetic. `strict` reads
what the response means, in decimal arithmetic. The headline is the mean over the eight tasks, the
direction task being the mean of its three levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from eval._shared import LETTER_ONLY, groups_of, qwen, record_id
from mmrl.evals.benchmark import (
    Benchmark,
    Item,
    Message,
    Record,
    Response,
    Score,
    Scored,
    Split,
    judged,
    register,
    unanswered,
    user_turn,
)
from mmrl.evals.reading import find_answer, score_choice
from mmrl.evals.scorers.mcq import read_options
from mmrl.evals.scorers.means import mean_by
from mmrl.evals.scorers.mra import exact_mra, float_mra
from mmrl.evals.scorers.numbers import find_number, plain
from mmrl.verify.numbers import to_decimal

NUMERIC = (
    "object_abs_distance",
    "object_counting",
    "object_size_estimation",
    "room_size_estimation",
)
DIRECTION = "object_rel_direction"
FRAMES = "These are frames of a video."
ONE_WORD = "Please answer the question using a single word or phrase."


def read_item(record: Record) -> Item:
    """Read a record; its options begin with their letters, and are missing for numbers."""
    scene = f"{record.get('dataset', '')}/{record.get('scene_name', '')}"
    kind = str(record.get("question_type", ""))
    task = DIRECTION if kind.startswith(DIRECTION) else kind
    groups = groups_of(record, question_type="question_type", source="dataset")
    return Item(
        id=record_id(record, "id"),
        answer=record.get("ground_truth"),
        choices=read_options(record.get("options")),
        fields=record,
        groups=groups | {"task": task},
        cluster=scene if len(scene) > 1 else "",
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the video, then the question, its options and how to answer."""
    record = item.fields
    video = f"{record['dataset']}/{record['scene_name']}.mp4"
    asked = [ONE_WORD] if _is_numeric(item) else ["Options:", *item.choices, LETTER_ONLY]
    return user_turn(("video", video), "\n".join([FRAMES, str(record["question"]), *asked]))


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by its letter, or by how near its number is."""
    gold = str(item.answer).strip()
    if not _is_numeric(item):
        if mode == "strict":
            return score_choice(item, response, gold=gold)
        word = _first_word(response)
        if not word:
            return unanswered()
        return judged(
            word.lower() == gold.lower(), answer=word, normalised=word.upper(), how="word"
        )
    right = to_decimal(gold)
    if right is None:
        raise ValueError(f"the gold answer {gold!r} is no number")
    if mode == "official":
        return _official_number(response, float(right))
    found = find_answer(response)
    number = find_number(found)
    if number is None:
        return unanswered(answer=found.text[-200:] or None)
    value = exact_mra(number[0], right)
    return judged(
        value == 1.0,
        answer=found.text[-200:],
        normalised=plain(number[0]),
        how=number[1],
        value=value,
    )


def aggregate(scored: Sequence[Scored]) -> Mapping[str, float]:
    """Return the mean over the tasks, then each task's mean."""
    kinds = mean_by(scored, lambda one: str(one.item.groups.get("question_type", "")))
    levels = [value for kind, value in kinds.items() if kind.startswith(DIRECTION)]
    tasks = {kind: value for kind, value in kinds.items() if not kind.startswith(DIRECTION)}
    if levels:
        tasks[DIRECTION] = fmean(levels)
    return {"overall": fmean(tasks.values()) if tasks else 0.0, **dict(sorted(tasks.items()))}


def _official_number(response: Response, gold: float) -> Score:
    word = _first_word(response)
    try:
        value = float(word)
    except (ValueError, OverflowError):
        return unanswered(answer=word or None)
    credit = float_mra(value, gold)
    return judged(credit == 1.0, answer=word, normalised=repr(value), how="word", value=credit)


def _first_word(response: Response) -> str:
    text = response.text if response.extraction is None else response.extraction
    return text.split(" ")[0].rstrip(".").strip()[:200]


def _is_numeric(item: Item) -> bool:
    return item.fields.get("question_type") in NUMERIC


register(
    Benchmark(
        name="vsi_bench",
        version="1",
        summary="Distances, sizes, counts, directions and routes in videos of rooms.",
        hub="nyu-visionx/VSI-Bench",
        splits=(
            Split(
                name="test",
                files=("test*.parquet", "test.jsonl", "data/test-*.parquet"),
                count=5130,
            ),
        ),
        metric="mean",
        item=read_item,
        prompt=prompt,
        score=score,
        aggregate=aggregate,
        groups=("task", "question_type", "source"),
        media=frozenset({"video"}),
        published=qwen(None, 59.4, 56.6),
        notes=(
            "official reads the first word only: '(C)' and 'about 3' are wrong",
            "where levels of the direction task are missing, as under limit=, the mean is over "
            "those that are there; the authors count them as 0",
        ),
    )
)
