"""Malformed completions for every perception, pretext and group judge: no crash, NaN or wait."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import time

import pytest

from mmrl.reward import build_group_reward, build_verifier, sample_of
from mmrl.types import Row

BOXES = [{"bbox_2d": [1, 2, 30, 40], "label": "dog"}]
CASES = {
    "box": ([1, 2, 30, 40], {"threshold": 0.5}),
    "detection": (BOXES, {"ratios": {"iou_max_label_first": 0.5, "map": 0.5}}),
    "vision_criteria": (BOXES, {"variant": "code"}),
    "point_in_box": ([1, 2, 30, 40], {}),
    "gui_action": ([{"action": "click", "coordinate": [1, 2, 30, 40]}], {"arguments": True}),
    "temporal_iou": ([1, 2], {"whole_text": True}),
    "jigsaw": ([2, 4, 1, 3], {"partial": 0.2, "format_bonus": 0.2, "whole_text": True}),
    "rotation": ("90", {"lenient": True}),
    "contrastive": ("positive", {}),
    "position": ("top-left", {}),
    "anomaly_grounding": ("1.0-2.0", {}),
    "temporal_jigsaw": ("2143", {}),
    "object_count": ("1,2,3", {}),
    "audio_order": ([2, 1, 3], {}),
    "audio_reversal": ("backwards", {}),
}
PIECES = [
    *("<think>", "</think>", "<answer>", "</answer>", "\\boxed{", "{", "}", "[", "]", "(", ")"),
    *('"bbox_2d"', "'label'", '"dog"', "'action': 'click'", '"coordinate"', ":", ",", ", ", "-"),
    *(
        "0",
        "7",
        "12.5",
        "-3",
        "1e308",
        "1e999",
        "NaN",
        "Infinity",
        "-Infinity",
        "9" * 60,
        "1" * 5000,
    ),
    *("90", "positive", "top-left", "3,1,2", "2143", "B", " ", "\n", "\t", "```json", "```", "\\"),
    *("\x00", "\ud800", "\u202e\u05d0", "\u0663", "\U0001f600", "\u2212", "true", "null", "'", '"'),
]


def malformed(rng: random.Random) -> str:
    """Random pieces, often inside a tag, often a spoilt copy of something right."""
    kind = rng.randrange(4)
    if kind == 0:
        text = list(json.dumps(rng.choice([BOXES, [1, 2, 30, 40], [[2, 4], [1, 3]]])))
        for _ in range(rng.randrange(1, 6)):
            text[rng.randrange(len(text))] = rng.choice(PIECES)
        inside = "".join(text)
    else:
        inside = "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 30)))
    return inside if kind == 1 else f"<think>a</think><answer>{inside}</answer>"


@pytest.mark.parametrize("name", CASES)
def test_malformed_completions_are_judged_or_hold_no_answer(name):
    answer, params = CASES[name]
    row = Row(id="r", source="s", prompt=[], answer=answer, verifier=())
    judge = build_verifier(name, params)
    rng = random.Random(name)
    for _ in range(700):
        text = malformed(rng)
        verdict = judge(sample_of(row, text))
        assert verdict.status in ("ok", "no_answer"), (text, verdict)
        assert verdict.score is not None
        assert math.isfinite(verdict.score), (text, verdict)


@pytest.mark.parametrize("name", ["majority_vote", "concise_bonus", "dast"])
def test_malformed_groups_are_judged(name):
    row = Row(id="r", source="s", prompt=[], answer="x", verifier=())
    judge = build_group_reward(name)
    rng = random.Random(name)
    for _ in range(100):
        samples = [
            dataclasses.replace(
                sample_of(row, malformed(rng), length=rng.randrange(1, 900)),
                accuracy=float(rng.randrange(2)),
            )
            for _ in range(8)
        ]
        assert {verdict.status for verdict in judge(samples)} <= {"ok", "no_answer"}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "text",
    [
        "(" * 1_000_000,
        "[" * 50_000 + "1" + "]" * 50_000,
        '{"a":' * 100_000,
        "[{'bbox_2d': [1, 2, 3" * 40_000,
        "1," * 300_000,
        "\\boxed{" * 100_000,
        "'" * 500_000,
        "[1,2]" * 150_000,
        "\u05d0" * 400_000,
    ],
    ids=["open", "deep", "objects", "boxes", "numbers", "boxed", "quotes", "pairs", "hebrew"],
)
def test_a_megabyte_takes_no_more_than_a_moment(name, text):
    answer, params = CASES[name]
    row = Row(id="r", source="s", prompt=[], answer=answer, verifier=())
    judge = build_verifier(name, params)
    start = time.process_time()
    verdict = judge(sample_of(row, f"<think>a</think><answer>{text}</answer>"))
    assert verdict.status in ("ok", "no_answer")
    assert time.process_time() - start < 3
