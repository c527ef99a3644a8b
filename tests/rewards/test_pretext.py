"""Pretext judges: jigsaws, views, order and anomalies in time, counts; worked cases and hostile
text."""

from __future__ import annotations

import itertools
import json
import random
import time

import pytest

from mmrl.errors import RewardError
from mmrl.reward import build_verifier, gold_text, sample_of
from mmrl.types import Row, Verdict, VerifierTerm


def judge(name: str, text: str, answer, *, progress: float = 0.0, **params) -> Verdict:
    row = Row(id="r", source="s", prompt=[], answer=answer, verifier=())
    return build_verifier(name, params)(sample_of(row, text, progress=progress))


def score(name: str, text: str, answer, **params) -> float | None:
    return judge(name, f"<think>hm</think><answer>{text}</answer>", answer, **params).score


NINE = "5, 1, 3, 7, 9, 2, 4, 8, 6"


def boxed(text: str) -> str:
    return f"<think>tiles</think>\nThe order is \\boxed{{{text}}}."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 4\n3 1", 0.5),
        ("2 4 1 3", 1),
        ("[[2, 4], [1, 3]]", 1),
        ("`2, 4; 1, 3`", 1),
        ("2 4 1", 0),
        ("2 4 1 3 1", 0),
        ("2 4 4 4", 0.5),
        ("2 4 1 5", 0),
        ("2 4 1 x", 0),
        ("", 0),
    ],
)
def test_jigsaw_r1_counts_right_positions(text, expected):
    for answer in ([2, 4, 1, 3], "2 4\n1 3", [[2, 4], [1, 3]], ["2", "4", "1", "3"]):
        assert score("jigsaw", text, answer) == expected


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [("A or B", "B", 1), ("B", "A", 0), ("(C) Above", "C", 1), ("the answer is d", "D", 0)],
)
def test_a_pair_is_a_letter_and_the_last_capital_counts(text, answer, expected):
    assert score("jigsaw", text, answer) == expected
    assert score("jigsaw", text, answer, question="pair") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (boxed(NINE), 1.2),
        (boxed("1, 5, 3, 7, 9, 2, 4, 8, 6"), 0.3555556),
        (boxed("5, 1, 3, 7, 9, 2, 4, 8, 5"), 0.2),
        (boxed("5, 1, 3, 7, 9, 2, 4, 8, 10"), 0.2),
        (boxed("no idea"), 0.2),
        (NINE, 0),
        (f"<think>never ends \\boxed{{{NINE}}}", 0),
        (f"\\boxed{{{NINE}}}", 0),
    ],
)
def test_visual_jigsaw_pays_for_permutations_only_and_only_in_format(text, expected):
    verdict = judge("jigsaw", text, NINE, partial=0.2, format_bonus=0.2)
    assert (verdict.score, verdict.status) == (pytest.approx(expected, abs=1e-7), "ok")


def test_partial_credit_can_wait_for_enough_tiles():
    swapped = "2,1,3,4"
    assert score("jigsaw", swapped, [1, 2, 3, 4], partial=0.2) == pytest.approx(0.1)
    assert score("jigsaw", swapped, [1, 2, 3, 4], partial=0.2, partial_from=5) == 0
    assert score("jigsaw", "2,1,3,4,5", [1, 2, 3, 4, 5], partial=0.2, partial_from=5) == (
        pytest.approx(0.12)
    )


def test_ssl4rl_asks_for_the_inverse_of_the_shown_order():
    assert score("jigsaw", "2,4,1,3", [3, 1, 4, 2], inverse=True) == 1
    assert score("jigsaw", "2,4,3,1", "2,4,1,3") == 0.5
    assert score("jigsaw", "2,4", "2,4,1,3", any_length=True) == 0.5
    assert score("jigsaw", "2,4,1,3,1", "2,4,1,3", any_length=True) == 1


@pytest.mark.parametrize("params", [{}, {"inverse": True}, {"partial": 0.2, "format_bonus": 0.2}])
def test_the_right_completion_follows_the_parameters(params):
    row = Row(id="r", source="s", prompt=[], answer=[3, 1, 4, 2], verifier=())
    text = gold_text(row, VerifierTerm(name="jigsaw", params=params))
    found = build_verifier("jigsaw", params)(sample_of(row, text)).score
    assert found == 1 + params.get("format_bonus", 0)


def test_connections_are_the_neighbours_that_stay_neighbours():
    grid = [[1, 2], [3, 4]]
    assert score("jigsaw", "1 2 3 4", grid, score="connections") == 1
    assert score("jigsaw", "3 4 1 2", grid, score="connections") == 0.5
    assert score("jigsaw", "4 3 2 1", grid, score="connections") == 0
    rng = random.Random(0)
    for rows, columns in ((2, 3), (3, 1), (1, 4), (3, 3)):
        count = rows * columns
        gold, found = rng.sample(range(1, count + 1), count), rng.sample(range(1, count + 1), count)
        nested = [gold[row * columns : (row + 1) * columns] for row in range(rows)]
        right = sum(
            _at(found, columns, r, c) == _at(nested, None, gr, gc)
            and _at(found, columns, r + dr, c + dc) == _at(nested, None, gr + dr, gc + dc)
            for dr, dc in ((0, 1), (1, 0))
            for r, c in itertools.product(range(rows - dr), range(columns - dc))
            for gr, gc in itertools.product(range(rows - dr), range(columns - dc))
        )
        expected = right / (2 * count - rows - columns)
        text = " ".join(map(str, found))
        assert score("jigsaw", text, nested, score="connections") == pytest.approx(expected)


@pytest.mark.parametrize(
    "params",
    [{"partial": 2}, {"partial_from": 5}, {"partial": 0.2, "any_length": True}, {"question": "x"}],
)
def test_jigsaw_parameters_that_contradict_each_other_are_refused(params):
    with pytest.raises(RewardError):
        build_verifier("jigsaw", params)


@pytest.mark.parametrize(
    ("name", "text", "answer", "expected"),
    [
        ("rotation", "90", "90", 1),
        ("rotation", " 90 ", 90, 1),
        ("rotation", "90 degrees", "90", 0),
        ("rotation", "180", "90", 0),
        ("rotation", "270", "90,270", 1),
        ("contrastive", "positive", "positive", 1),
        ("contrastive", "negative", "positive", 0),
        ("position", "top-left", "top-left", 1),
        ("position", "Top-left", "top-left", 0),
        ("position", "top-left-ish", "top-left", 0),
    ],
)
def test_a_view_is_named_letter_for_letter(name, text, answer, expected):
    assert score(name, text, answer) == expected


def test_views_can_be_judged_with_mercy():
    for text in ("90 degrees", "-270", "450", "90\u00b0", "90.0"):
        assert score("rotation", text, "90", lenient=True) == 1
    assert score("rotation", "180 degrees", "90", lenient=True) == 0
    assert score("position", "Top-Left", "top-left", case=False) == 1
    assert judge("rotation", "<answer>5</answer>", "none", lenient=True).status == "bad_gold"


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("5.0-15.0", "10.0-20.0", 1 / 3),
        ("0-5", "10-20", 0),
        ("15-5", "5-15", 0),
        ("from 5 to 15", "5-15", 0),
        ("25.0-55.0", "25.0-55.0", 1),
        ("25.0 - 55.0", [25, 55], 1),
        ("7-7", "5-15", 0),
        ("5-15 ", "5-15", 1),
        ("5-15s", "5-15", 0),
    ],
)
def test_an_anomaly_is_grounded_by_overlap_and_strictly_written(text, answer, expected):
    assert score("anomaly_grounding", text, answer) == pytest.approx(expected)
    assert judge("anomaly_grounding", text, answer).score == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("[5, 15]", [10, 20], 1 / 3),
        ("5 15", "[10, 20]", 1 / 3),
        ("from 5.0 to 15.0 seconds", "10-20", 1 / 3),
        ("[12,19],[24,29]", [10, 15], 3 / 14),
        ("[[10, 20], [10, 20]]", [10, 20], 1),
        ("0:05-0:15", [5, 15], 1),
        ("15-5", [5, 15], 0),
        ("5", [5, 15], 0),
        ("", [5, 15], 0),
    ],
)
def test_intervals_overlap_by_intersection_over_union(text, answer, expected):
    assert score("temporal_iou", text, answer) == pytest.approx(expected)


def test_an_interval_below_the_threshold_counts_nothing():
    assert score("temporal_iou", "5-15", "10-20", threshold=1 / 3) == pytest.approx(1 / 3)
    assert score("temporal_iou", "5-15", "10-20", threshold=0.34) == 0
    late = {0.0: 0.3, 0.5: 0.5}
    assert score("temporal_iou", "5-15", "10-20", threshold=late, progress=0.6) == 0
    assert judge("temporal_iou", "<answer>1-2</answer>", "2-2").status == "bad_gold"


def test_merged_intervals_equal_counted_tenths_of_a_second():
    rng = random.Random(0)
    for _ in range(100):
        spans = [[_span(rng) for _ in range(rng.randrange(1, 4))] for _ in range(2)]
        tenths = [{t for start, end in some for t in range(start, end)} for some in spans]
        expected = len(tenths[0] & tenths[1]) / len(tenths[0] | tenths[1])
        assert score("temporal_iou", json.dumps(spans[0]), spans[1]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("341562", "341562", 1),
        ("431562", "341562", 8 / 9),
        ("265143", "341562", 0),
        ("341563", "341562", 0),
        ("34156", "341562", 0),
        ("21345678", "12345678", 0.9375),
        ("3, 4, 1, 5, 6, 2", [3, 4, 1, 5, 6, 2], 1),
        ("341562", 341562, 1),
        ("clip 3", "341562", 0),
    ],
)
def test_clips_are_scored_by_how_far_they_are_displaced(text, answer, expected):
    assert score("temporal_jigsaw", text, answer) == pytest.approx(expected)
    assert score("audio_order", text, answer) == pytest.approx(expected)
    assert judge("temporal_jigsaw", text, answer).score == pytest.approx(expected)
    assert score("temporal_jigsaw", text, answer, exact=True) == (expected == 1)


def test_the_reversed_order_is_the_worst_and_no_score_is_negative():
    for count in (2, 3, 4, 5):
        gold = list(range(1, count + 1))
        scores = [
            score("audio_order", json.dumps(order), gold) for order in itertools.permutations(gold)
        ]
        assert min(scores) == pytest.approx(0, abs=1e-12)
        assert min(scores) >= 0
        assert score("audio_order", json.dumps(gold[::-1]), gold) == min(scores)


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("backwards", "backwards", 1),
        ("Reversed.", "backwards", 1),
        ("forward", "backwards", 0),
        ("yes", True, 1),
        ("[2, 1]", [1, 2], 1),
        ("2", "1,2", 0),
        ("2", 2, 1),
        ("sideways", "backwards", 0),
    ],
)
def test_a_sound_runs_forwards_or_backwards(text, answer, expected):
    assert score("audio_reversal", text, answer) == expected


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("2,1,4", "3,1,4", 0.8888889),
        ("6,1,0", "3,1,4", 0.3333333),
        ("3,1", "3,1,4", 0),
        ("1,0,2", "0,0,2", 0.6666667),
        ("3,1,4", [3, 1, 4], 1),
        ("circles: 3, squares: 1, triangles: 4", "3,1,4", 1),
        ("9" * 400_000 + ",1,4", "3,1,4", 2 / 3),
        ("many", "3,1,4", 0),
    ],
)
def test_counts_are_judged_by_relative_error(text, answer, expected):
    assert score("object_count", text, answer) == pytest.approx(expected, abs=1e-7)
    assert judge("object_count", text, answer).score == pytest.approx(expected, abs=1e-7)


GOLD = {
    "jigsaw": [2, 4, 1, 3],
    "rotation": "90",
    "contrastive": "positive",
    "position": "top-left",
    "anomaly_grounding": "1.0-2.0",
    "temporal_iou": [1, 2],
    "temporal_jigsaw": "2143",
    "object_count": "1,2,3",
    "audio_order": [2, 1],
    "audio_reversal": "yes",
}


@pytest.mark.parametrize("name", GOLD)
def test_gold_is_right_nothing_is_no_answer_and_nonsense_is_bad_gold(name):
    text = GOLD[name] if isinstance(GOLD[name], str) else json.dumps(GOLD[name])
    assert score(name, text, GOLD[name]) == 1
    assert judge(name, "", GOLD[name]).status == "no_answer"
    assert judge(name, "<answer></answer>", GOLD[name]).status == "no_answer"
    assert judge(name, f"<answer>{text}</answer>", "").status == "bad_gold"


@pytest.mark.parametrize("name", GOLD)
@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        "(" * 1_000_000,
        "1" * 1_000_000,
        "1," * 400_000,
        "-" * 500_000,
        "1:" * 300_000,
        "1 " * 300_000,
        "NaN, Infinity",
        "\x00\u202e1",
        "1e999",
        "\u0661\u0662\u0663",
    ],
)
def test_hostile_text_is_judged_soon_and_finitely(name, text):
    start = time.perf_counter()
    verdict = judge(name, f"<answer>{text}</answer>", GOLD[name])
    assert verdict.status in ("ok", "no_answer")
    assert time.perf_counter() - start < 3


def _at(order, columns, row, column):
    return order[row][column] if columns is None else order[row * columns + column]


def _span(rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(50)
    return start, start + rng.randrange(1, 30)
