"""MVBench (arXiv 2311.17005): 20 temporal tasks of 200 short videos each.

`official` compares the first word of the response with the gold option's "(A)": either may contain
the other, so that an empty first word counts as right. (The authors begin the answer with a bracket
themselves.) `strict` reads what the response means. The headline is the mean over the tasks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase

from eval._shared import groups_of, qwen
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
    user_turn,
)
from mmrl.evals.reading import score_choice
from mmrl.evals.records import KEY, read_records
from mmrl.evals.scorers.mcq import lettered
from mmrl.evals.scorers.means import mean_over

VIDEOS = {
    "action_antonym": "ssv2_video",
    "action_count": "perception/videos",
    "action_localization": "sta/sta_video",
    "action_prediction": "star/Charades_v1_480",
    "action_sequence": "star/Charades_v1_480",
    "character_order": "perception/videos",
    "counterfactual_inference": "clevrer/video_validation",
    "egocentric_navigation": "vlnqa",
    "episodic_reasoning": "tvqa/frames_fps3_hq",
    "fine_grained_action": "Moments_in_Time_Raw/videos",
    "fine_grained_pose": "nturgbd",
    "moving_attribute": "clevrer/video_validation",
    "moving_count": "clevrer/video_validation",
    "moving_direction": "clevrer/video_validation",
    "object_existence": "clevrer/video_validation",
    "object_interaction": "star/Charades_v1_480",
    "object_shuffle": "perception/videos",
    "scene_transition": "scene_qa/video",
    "state_change": "perception/videos",
    "unexpected_action": "FunQA_test/test",
}
"""Where the data set keeps each task's videos, below video/."""
ASKED = "Only give the best option."


def records(source: Path | str, split: Split) -> Iterator[Record]:
    """Yield the questions of all tasks, each with its task and its place in it."""
    for task in VIDEOS if split.name == "train" else (split.name,):
        files = (f"json/{task}.json", f"{task}.json", f"{task}.jsonl")
        part = dataclasses.replace(split, name=task, config=task, files=files, hub="train")
        for place, record in enumerate(read_records(source, part)):
            yield {KEY: str(place), "task": task, **record}


def read_item(record: Record) -> Item:
    """Read a record; its answer is the text of one of the candidates."""
    task = str(record.get("task", ""))
    return Item(
        id=f"{task}/{record.get(KEY, '')}",
        answer=record.get("answer"),
        choices=tuple(map(str, record.get("candidates") or ())),
        fields=record,
        groups=groups_of(record, task="task"),
        cluster=str(record.get("video") or ""),
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the video, then the question and its options."""
    record = item.fields
    video = f"video/{VIDEOS[record['task']]}/{record['video']}"
    options = lettered(item.choices, "({letter}) {text}")
    text = "\n".join([f"Question: {record['question']}", "Options:", *options, ASKED])
    return user_turn(("video", video), text)


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by the option it gives.

    Raises:
        ValueError: the answer is none of the candidates.
    """
    if str(item.answer) not in item.choices:
        raise ValueError(f"the answer {item.answer!r} is none of the candidates")
    letter = ascii_uppercase[item.choices.index(str(item.answer))]
    if mode == "strict":
        return score_choice(item, response, gold=letter)
    text = response.text if response.extraction is None else response.extraction
    first = text.strip().split("\n")[0].lower().split(" ")[0]
    gold = f"({letter.lower()})"
    correct = first.replace(".", "") in gold or gold in first
    how = "letter" if first.strip("(). ") else "fallback"
    return judged(correct, answer=text[:200] or None, normalised=first[:40], how=how)


def _task(name: str) -> Split:
    return Split(name=name, count=200)


register(
    Benchmark(
        name="mvbench",
        version="1",
        summary="20 temporal tasks on short videos; three to five options.",
        hub="OpenGVLab/MVBench",
        splits=(Split(name="train", count=4000), *(_task(task) for task in VIDEOS)),
        records=records,
        item=read_item,
        prompt=prompt,
        score=score,
        aggregate=mean_over("task"),
        groups=("task",),
        media=frozenset({"video"}),
        published=qwen(69.6, 68.7, 69.0),
        notes=(
            "official counts an empty response, and one that begins with a bracket alone, as right "
            "(how=fallback)",
            "videos of star, sta and tvqa have to be cut to the record's start and end beforehand; "
            "tvqa ships folders of frames, which have to be joined to a video named as the record "
            "says",
            "nturgbd has to be had from its authors",
        ),
    )
)
