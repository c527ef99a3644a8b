"""MMAU (arXiv 2410.19168), version v05.15.25: questions on sounds, music and speech.

`official`: every word of the gold option stands in the response, and no word that only wrong
options have. `strict` reads what the response means.
"""

from __future__ import annotations

import re
from pathlib import Path

from eval._shared import groups_of, media_key, record_id
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
from mmrl.evals.scorers.mcq import lettered, read_options

VERSION = "v05.15.25"
ASKED = "Choose one of these options and answer with its letter and its text:"
_WORD = re.compile(r"\b\w+\b")


def read_item(record: Record) -> Item:
    """Read a record; its answer is the text of one of its choices."""
    return Item(
        id=record_id(record, "id"),
        answer=record.get("answer"),
        choices=read_options(record.get("choices")),
        fields=record,
        groups=groups_of(
            record,
            task="task",
            difficulty="difficulty",
            category="category",
            sub_category="sub-category",
        ),
        cluster=media_key(record.get("audio_id")),
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Play the sound, then ask and list the options."""
    record = item.fields
    sound = record.get("audio") or str(record["audio_id"]).removeprefix("./")
    options = lettered(item.choices, "({letter}) {text}")
    return user_turn(("audio", sound), "\n".join([str(record["question"]), ASKED, *options]))


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by the option it gives."""
    gold = str(item.answer or "")
    if not gold.strip():
        raise ValueError("the record has no answer: the test split's are not public")
    if mode == "strict":
        return score_choice(item, response, gold=gold)
    text = response.text if response.extraction is None else response.extraction
    ours, right = _words(text), _words(gold)
    if not ours:
        return unanswered()
    wrong = {word for choice in map(_words, item.choices) if choice != right for word in choice}
    correct = right <= ours and not (wrong - right) & ours
    return judged(correct, answer=text[:200], normalised=" ".join(sorted(ours))[:200], how="words")


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _omni(value: float, setting: str) -> Published:
    return Published(
        model="Qwen2.5-Omni-7B", value=value, source="Qwen2.5-Omni report", setting=setting
    )


register(
    Benchmark(
        name="mmau",
        version=f"1 ({VERSION})",
        summary="Questions on sounds, music and speech; mostly four options.",
        hub="gamma-lab-umd/MMAU-test-mini",
        splits=(
            Split(
                name="test_mini",
                hub="test",
                files=("mmau-test-mini.json", "test_mini.jsonl", "*test*.parquet"),
                count=1000,
            ),
        ),
        item=read_item,
        prompt=prompt,
        score=score,
        groups=("task", "difficulty", "category", "sub_category"),
        media=frozenset({"audio"}),
        published=(
            _omni(67.87, "sound"),
            _omni(69.16, "music"),
            _omni(59.76, "speech"),
            _omni(65.60, "mean of the three"),
        ),
        notes=(
            f"{VERSION} revised a quarter of the questions: numbers of earlier versions are not "
            "comparable, and the published ones do not say theirs",
            "the authors give no prompt; this one is ours",
            "official matches words: a response that also names a wrong option is wrong",
        ),
    )
)
