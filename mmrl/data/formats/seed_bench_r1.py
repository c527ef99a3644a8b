"""SEED-Bench-R1 (arXiv 2503.24376): what to do next, after a video of what was done so far and a
picture of what is seen now.

Validation records bring four choices and the letter of the right one; training records bring wrong
answers, of which three are drawn. Media lie below `videos/SOURCE/` and `images/SOURCE/`.
"""

from __future__ import annotations

import random
from typing import Any

from mmrl.data.format import Format, Misfit, Origin, Record, register_format
from mmrl.data.formats._fields import labelled, media_first, take
from mmrl.types import Medium, Row

_CHOICES = ("choice_a", "choice_b", "choice_c", "choice_d")


def read(record: Record, origin: Origin, *, seed: int = 0) -> Record:
    """Read one record; the seed and the record's id decide the order of drawn choices."""
    name = str(take(record, "sample_id", (str, int), None) or take(record, "id", (str, int)))
    text, answer = take(record, "question"), take(record, "answer")
    source = take(record, "video_source")
    shown = take(record, "task_progress_metadata", list, [])
    choices, letter = _choices(record, answer, f"{seed}/{name}")
    content: list[Record] = []
    video = take(record, "video_basename", str, "")
    if shown:
        if not video:
            raise Misfit("there is progress to show and no video_basename")
        content.append({"type": "video", "video": f"videos/{source}/{video}"})
    image = take(record, "current_observation_basename")
    content.append({"type": "image", "image": f"images/{source}/{image}"})
    content.append({"type": "text", "text": f"{text}\n{labelled(choices)}\n"})
    extra: Record = {"question": text, "choices": choices, "video_source": source}
    if shown:
        extra["task_progress_metadata"] = shown
    return {
        "id": name,
        "source": "seed_bench_r1",
        "prompt": [{"role": "user", "content": content}],
        "answer": letter,
        "verifier": "choice",
        "extra": extra,
    }


def write(row: Row) -> Record:
    """Write a validation record."""
    text, media = media_first(row)
    choices: Any = row.extra.get("choices")
    if not isinstance(choices, list) or len(choices) != 4 or row.answer not in ("A", "B", "C", "D"):
        raise Misfit("SEED-Bench-R1 has four choices in extra.choices, and a letter as the answer")
    stem = text.removesuffix(f"\n{labelled(choices)}\n")
    if stem == text:
        raise Misfit("its choices do not stand at the end of its text as 'A. ...'")
    source = str(row.extra.get("video_source", row.source))
    images, videos = media.get("image", []), media.get("video", [])
    if len(images) != 1 or len(videos) > 1 or media.keys() - {"image", "video"}:
        raise Misfit("SEED-Bench-R1 shows one picture, and one video or none")
    progress = row.extra.get("task_progress_metadata") or ([{}] if videos else [])
    record: Record = {
        "sample_id": row.id,
        "question": stem,
        "answer": choices["ABCD".index(row.answer)],
        "video_source": source,
        "current_observation_basename": _basename(images[0], "images", source),
        "task_progress_metadata": progress,
        "golden_choice_idx": row.answer,
    }
    if videos:
        record["video_basename"] = _basename(videos[0], "videos", source)
    return record | dict(zip(_CHOICES, choices, strict=True))


def _choices(record: Record, answer: str, key: str) -> tuple[list[str], str]:
    gold = take(record, "golden_choice_idx", str, None)
    if gold is not None:
        choices = [take(record, choice) for choice in _CHOICES]
        if gold not in ("A", "B", "C", "D"):
            raise Misfit("golden_choice_idx is no letter from A to D")
        return choices, gold
    wrong = take(record, "negative_answers", list)
    if len(wrong) < 3 or not all(isinstance(item, str) for item in wrong):
        raise Misfit("fewer than three negative_answers")
    draw = random.Random(key)
    choices = [*draw.sample(wrong, 3), answer]
    draw.shuffle(choices)
    return choices, "ABCD"[choices.index(answer)]


def _basename(medium: Medium, folder: str, source: str) -> str:
    if isinstance(medium.source, bytes) or medium.source.parts[-3:-1] != (folder, source):
        raise Misfit(f"its media do not lie in {folder}/{source}/")
    return medium.source.name


register_format(
    Format(
        name="seed_bench_r1",
        summary="SEED-Bench-R1: question, choices, and names of a video and a picture, in JSONL",
        read=read,
        write=write,
        suffixes=(".jsonl", ".json"),
    )
)
