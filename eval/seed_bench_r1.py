"""SEED-Bench-R1 (arXiv 2503.24376): which action comes next, after a video of what was done so far
and a picture of now; four options, three levels of distance from the training data.

`official`: right when the first character within the first `<answer>` tag is the gold letter.
`grpo_care` (arXiv 2506.16141): right when the tag's whole content, or the whole response where
there is no tag, is the letter. `strict` reads what the tag means, `lenient` what a response without
a tag means as well.
"""

from __future__ import annotations

from pathlib import Path

from mmrl.answer import CLOSE, OPEN
from mmrl.evals.benchmark import (
    Benchmark,
    Decoding,
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
from mmrl.evals.reading import find_answer, score_choice

LETTERS = "ABCD"
SIDE = 252
"""The authors force every frame and picture to 256 x 256, which their processor makes 252 x 252;
here as many pixels in the picture's own proportions."""
ASKED = (
    "Think first, within <think> and </think>. Then give the letter of the right option, within "
    "<answer> and </answer>."
)


def read_item(record: Record) -> Item:
    """Read a record of a validation file. Ids are integers in L1 and L2 and texts in L3."""
    level = str(record.get("task_level") or "")
    sample_id = str(record.get("sample_id", record.get("_key", "")))
    names = {"level": "task_level", "domain": "domain", "scenario": "scenario"}
    groups = {key: str(record[name]) for key, name in names.items() if record.get(name)}
    choices = [record.get(f"choice_{letter.lower()}") for letter in LETTERS]
    return Item(
        # both levels count their samples from one
        id=f"{level}/{sample_id}" if level and sample_id else sample_id,
        answer=record.get("golden_choice_idx"),
        choices=tuple(str(choice) for choice in choices if choice is not None),
        fields=record,
        groups=groups | {"video": "yes" if record.get("task_progress_metadata") else "no"},
        cluster=str(record.get("video_id") or ""),
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the video, unless nothing has been done yet, then the picture, then the question."""
    record = item.fields
    # a single annotation file stands beside the folders of media, not above them
    root = f"{folder.resolve().parent}/" if folder.name == "annotations" else ""
    source = record["video_source"]
    video = ("video", f"{root}videos/{source}/{record['video_basename']}")
    image = ("image", f"{root}images/{source}/{record['current_observation_basename']}")
    options = [f"{letter}. {text}" for letter, text in zip(LETTERS, item.choices, strict=False)]
    text = "\n".join([record["question"], *options, ASKED])
    shown = (video, image) if record.get("task_progress_metadata") else (image,)
    return user_turn(*shown, text)  # type: ignore[arg-type]


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by one of the four rules."""
    gold = "" if item.answer is None else str(item.answer)
    if gold.strip()[:1] not in tuple(LETTERS):
        raise ValueError(f"golden_choice_idx is {item.answer!r}, where one of {LETTERS} should be")
    if mode == "official":
        return _first_character(response, gold)
    if mode == "grpo_care":
        return _whole_tag(response, gold)
    if mode == "strict" and find_answer(response).how not in ("tag", "extraction"):
        return unanswered()
    return score_choice(item, response, gold=gold.strip()[:1], letters=LETTERS)


def _first_character(response: Response, gold: str) -> Score:
    found = _tagged(response)
    if not found:
        return unanswered(answer=found)
    return judged(found[0] == gold.strip()[0], answer=found, normalised=found[0], how="tag")


def _whole_tag(response: Response, gold: str) -> Score:
    tagged = _tagged(response)
    found = response.text.strip() if tagged is None else tagged
    if not found:
        return unanswered(answer=tagged)
    how = "whole" if tagged is None else "tag"
    return judged(found == gold.strip(), answer=found[-200:], normalised=found[-200:], how=how)


def _tagged(response: Response) -> str | None:
    """Return the content of the first tag, an extraction in its place; None where there is none."""
    if response.extraction is not None:
        return response.extraction.strip()
    _, opened, rest = response.text.partition(OPEN)
    content, closed, _ = rest.partition(CLOSE)
    return content.strip() if opened and closed else None


def _published(model: str, *values: float) -> tuple[Published, ...]:
    settings = ("L1", "L2", "L3", "L3 daily", "L3 hobbies", "L3 recreation", "L3 work")
    return tuple(
        Published(model=model, value=value, source="arXiv 2503.24376", setting=setting)
        for setting, value in zip(settings, values, strict=True)
    )


_FILES = tuple(
    f"{folder}validation_{level}.jsonl"
    for level in ("L1", "L2", "L3")
    for folder in ("annotations/", "")
)

register(
    Benchmark(
        name="seed_bench_r1",
        version="1",
        summary="The next action after a video and a picture; four options, levels L1 to L3.",
        hub="TencentARC/SEED-Bench-R1",
        splits=(
            Split(name="validation", files=_FILES, count=4676),
            Split(name="validation_L1", files=_FILES[:2], count=2432),
            Split(name="validation_L2", files=_FILES[2:4], count=923),
            Split(name="validation_L3", files=_FILES[4:], count=1321),
        ),
        item=read_item,
        prompt=prompt,
        score=score,
        modes=("official", "grpo_care", "strict", "lenient"),
        groups=("level", "domain", "scenario", "video"),
        media=frozenset({"image", "video"}),
        decoding=Decoding(max_new_tokens=256, temperature=1.0),
        media_settings={
            "video_fps": 2.0,
            "video_min_frames": 4,
            "video_max_frames": 16,
            "video_min_pixels": SIDE * SIDE,
            "video_max_pixels": SIDE * SIDE,
            "image_min_pixels": SIDE * SIDE,
            "image_max_pixels": SIDE * SIDE,
        },
        published=(
            *_published("Qwen2-VL-7B", 34.79, 34.02, 31.57, 31.21, 32.30, 33.33, 30.69),
            *_published("Qwen2-VL-7B, SFT", 43.79, 44.10, 38.15, 38.27, 41.02, 32.24, 38.61),
            *_published("Qwen2-VL-7B, GRPO", 46.01, 50.16, 44.89, 48.52, 45.08, 43.72, 41.34),
        ),
        notes=(
            "official counts a tag that begins with the gold letter, such as 'Both A and B' for B",
            "published numbers: temperature 1, 256 new tokens, 16 frames, one sample",
            "videos are Epic-Kitchens and Ego4D under their own licences; only the loader is here",
        ),
    )
)
