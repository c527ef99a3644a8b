"""Video-MME (arXiv 2405.21075): 2,700 questions on 900 videos of eleven seconds to one hour,
without and with subtitles.

`official`: the first capital A, B, C or D anywhere, once phrases such as "The best answer is" are
cut out. The authors leave responses without one out of the denominator; here they are wrong, and
`of_answered` is the authors' number. `strict` reads what the response means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from eval._shared import groups_of, qwen, record_id
from mmrl.evals.benchmark import (
    Benchmark,
    Decoding,
    Item,
    Message,
    Record,
    Response,
    Score,
    Scored,
    Split,
    register,
    unanswered,
    user_turn,
)
from mmrl.evals.reading import score_choice
from mmrl.evals.scorers.mcq import VIDEO_PREFIXES, first_letter, read_options, score_letter

LETTERS = "ABCD"
PREFIXES = (*VIDEO_PREFIXES, "The best option isThe correct option is", "Best answer:Best option:")
"""The last two are pairs that a missing comma has joined in the authors' list."""
ASKED = (
    "Select the best answer to the following multiple-choice question based on the video. Respond "
    "with only the letter (A, B, C, or D) of the correct option."
)
_TAG = re.compile(r"<[^<>]{0,200}>")
_TIME = re.compile(r"\d{1,3}:\d\d:\d\d[,.]\d{1,3}\s*-->.*")


def read_item(record: Record) -> Item:
    """Read a record; its options begin with their letters."""
    return Item(
        id=record_id(record, "question_id"),
        answer=record.get("answer"),
        choices=tuple(text.strip() for text in read_options(record.get("options"))),
        fields=record,
        groups=groups_of(
            record,
            duration="duration",
            domain="domain",
            sub_category="sub_category",
            task_type="task_type",
        ),
        cluster=str(record.get("videoID") or record.get("video_id") or ""),
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the video, then the question with its options."""
    return user_turn(("video", _video(item)), _question(item))


def prompt_with_subtitles(item: Item, folder: Path) -> list[Message]:
    """Show the video, then its subtitles, if it has any, then the question."""
    lines = read_subtitles(folder / "subtitle" / f"{item.fields['videoID']}.srt")
    given = ["This video's subtitles are listed below:", *lines] if lines else []
    return user_turn(("video", _video(item)), "\n".join([*given, _question(item)]))


def read_subtitles(path: Path) -> list[str]:
    """Return the lines of a .srt file without numbers, times and markup; none without a file."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    texts = (_TAG.sub("", line).strip() for line in lines)
    return [text for text in texts if text and not text.isdigit() and not _TIME.match(text)]


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by the letter it gives."""
    gold = str(item.answer).strip()
    if mode == "strict":
        return score_choice(item, response, gold=gold, letters=LETTERS)
    text = response.text if response.extraction is None else response.extraction
    letter = first_letter(text.strip(), LETTERS, PREFIXES)
    return score_letter(letter, gold) if letter else unanswered(answer=text[:200] or None)


def aggregate(scored: Sequence[Scored]) -> Mapping[str, float]:
    """Return the accuracy over all questions, and over those that got an answer."""
    answered = [one.score.value for one in scored if one.score.status == "ok"]
    return {
        "accuracy": fmean(one.score.value for one in scored) if scored else 0.0,
        "of_answered": fmean(answered) if answered else 0.0,
    }


def _question(item: Item) -> str:
    record = item.fields
    return "\n".join([ASKED, str(record["question"]), *item.choices, "The best answer is:"])


def _video(item: Item) -> str:
    return f"data/{item.fields['videoID']}.mp4"


_SPLITS = (Split(name="test", files=("videomme/test-*.parquet", "test*.*"), count=2700),)
_NOTES = (
    "the authors leave out responses without a letter; of_answered is their number",
    "official takes the first capital letter: 'According to' is A",
)

for name, ask, published, notes in (
    ("video_mme", prompt, qwen(65.1, 71.4, 71.8), _NOTES),
    (
        "video_mme_subtitles",
        prompt_with_subtitles,
        qwen(71.6),
        (*_NOTES, "all subtitles are shown, not only those at the frames that are sampled"),
    ),
):
    register(
        Benchmark(
            name=name,
            version="1",
            summary="Questions on videos of seconds to an hour; four options.",
            hub="lmms-lab/Video-MME",
            splits=_SPLITS,
            item=read_item,
            prompt=ask,
            score=score,
            aggregate=aggregate,
            groups=("duration", "domain", "sub_category", "task_type"),
            media=frozenset({"video"}),
            decoding=Decoding(max_new_tokens=1024),
            published=published,
            notes=notes,
        )
    )
