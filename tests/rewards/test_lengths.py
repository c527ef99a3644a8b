from __future__ import annotations

import importlib
from math import cos, pi

import pytest

from mmrl.reward import build_group_reward, build_verifier
from mmrl.types import Row, Sample

ROW = Row(id="r", source="s", prompt=[], answer="1", verifier=())


def siblings(accuracies, lengths, text="") -> list[Sample]:
    return [
        Sample(row=ROW, text=text, accuracy=accuracy, length=length)
        for accuracy, length in zip(accuracies, lengths, strict=True)
    ]


def scores(name, samples, **params):
    return [verdict.score for verdict in build_group_reward(name, params)(samples)]


def score(name, length, accuracy=None, **params):
    return build_verifier(name, params)(siblings([accuracy], [length])[0]).score


CURVE = [
    (0, -1),
    (0.25, -0.853553),
    (0.5, -0.5),
    (0.75, -0.146447),
    (1, 0),
    (1.5, -0.5),
    (2, -1),
    (3, -1),
]


@pytest.mark.parametrize(("share", "paper"), CURVE)
def test_dylr_falls_off_from_the_length_of_the_right_siblings(share, paper):
    samples = siblings([1.0, 1.0, 0.0], [300, 500, round(400 * share)])
    assert scores("dylr", samples)[2] == pytest.approx(paper, abs=1e-6)
    assert scores("dylr", samples, variant="code")[2] == pytest.approx(paper / 2, abs=1e-6)
    assert scores("dylr", samples, variant="code")[:2] == [0.0, 0.0]
    edge = -1 + (1 - cos(pi * 300 / 400)) / 2
    assert scores("dylr", samples)[0] == pytest.approx(edge)


@pytest.mark.parametrize(
    ("length", "paper", "code"),
    [(750, 0, 0), (375, -0.5, -0.125), (1500, -1, 0), (4096, -1, -0.25), (0, -1, -0.25)],
)
def test_dylr_has_a_target_of_its_own_where_nobody_is_right(length, paper, code):
    samples = siblings([0.0], [length])
    assert scores("dylr", samples) == [pytest.approx(paper)]
    assert scores("dylr", samples, variant="code") == [pytest.approx(code)]


def test_dylrs_code_punishes_repetition_of_wrong_answers():
    words = "a b c d e " * 10
    samples = siblings([0.0], [750], text=words)
    # 31 windows of 20 words, 5 of them different
    assert scores("dylr", samples, variant="code") == [pytest.approx(-0.5 * (1 - 5 / 31))]


def test_a_sibling_whose_accuracy_is_unknown_is_an_error_and_does_not_set_the_target():
    verdicts = build_group_reward("dylr")(siblings([1.0, None, 0.0], [400, 9999, 400]))
    assert [v.status for v in verdicts] == ["ok", "error", "ok"]
    assert verdicts[2].score == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("length", "accuracy", "params", "expected"),
    [
        (4000, 1.0, {"base": True}, 1.5),
        (5000, 1.0, {"base": True}, 1.0),
        (4000, 0.0, {"base": True}, -0.5),
        (4000, 1.0, {}, 0.5),
        (4096, 1.0, {}, 0.5),
        (5000, 1.0, {}, 0.0),
        (4000, 0.0, {}, 0.0),
        (4000, 1.0, {"mode": "penalty"}, 0.0),
        (5000, 1.0, {"mode": "penalty"}, -0.5),
        (4000, 1.0, {"mode": "hybrid"}, 0.5),
        (5000, 1.0, {"mode": "hybrid"}, -0.5),
        (3000, 1.0, {"target": 2048}, 0.0),
    ],
)
def test_laser_pays_right_answers_within_the_target(length, accuracy, params, expected):
    assert score("laser", length, accuracy, **params) == expected


def test_laser_d_takes_the_target_of_the_groups_difficulty():
    targets = {"easy": 1000, "medium": 2000, "hard": 3000}
    for right, paid in ((8, 1000), (6, 1000), (5, 2000), (3, 2000), (2, 3000)):
        samples = siblings([1.0] * right + [0.0] * (8 - right), [paid] + [paid + 1] * 7)
        assert scores("laser_d", samples, **targets) == [0.5] + [0.0] * 7


def test_laser_de_pays_long_wrong_answers_that_do_not_repeat_themselves():
    fresh = " ".join(f"w{i}" for i in range(300))
    loop = "a b c d e f " * 50
    params = {"hard": 5120, "explore": True, "base": True}
    for text, length, expected in ((fresh, 6000, 0.0), (loop, 6000, -0.5), (fresh, 5000, -0.5)):
        assert scores("laser_d", siblings([0.0], [length], text), **params) == [expected]


def test_laser_d_estimates_a_target_from_monitored_lengths():
    from mmrl.reward import find_verifier

    module = importlib.import_module(find_verifier("laser_d").factory.__module__)
    lengths = [4096] * 10 + [5120] * 10 + [6144] * 10 + [20000] * 70
    assert module.target_length(lengths, "easy") == 5120
    assert module.target_length([4000] * 49 + [9000] * 51, "medium") == 9216
    assert module.target_length([4000] * 50 + [9000] * 50, "medium") == 4096
    assert module.target_length([4000] * 99 + [9000], "hard") == 9216
    assert module.target_length([20000], "hard") == 16384
    assert module.target_length([700], "hard", lower=512) == 1024


@pytest.mark.parametrize(
    ("length", "expected"),
    [(16384, 0), (16385, -1 / 4096), (18432, -0.5), (20480, -1), (20481, -1), (0, 0)],
)
def test_overlong_completions_are_punished_softly(length, expected):
    assert score("overlong", length) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("length", "accuracy", "expected"),
    [
        (0, 1.0, 2.0),
        (8192, 1.0, 1.5),
        (0, 0.0, -10.0),
        (8192, 0.0, -5.0),
        (16384, 1.0, -10.0),
        (4096, 1.0, 2 - (1 - cos(pi / 4)) / 2),
    ],
)
def test_the_cosine_reward_runs_from_end_to_end(length, accuracy, expected):
    assert score("cosine", length, accuracy) == pytest.approx(expected)


def test_the_length_band_pays_right_answers_when_more_than_one_is_right():
    lengths = [400, 100, 600, 400, 320, 1, 1, 1]
    right = siblings([1, 0, 1, 0, 1, 0, 0, 0], lengths)
    assert scores("length_band", right) == [0.2, 0, 0, 0, 0.2, 0, 0, 0]
    assert scores("length_band", siblings([1, 0], [400, 400])) == [0, 0]
    assert scores("length_band", siblings([0.1, 0.2, 0.3], [512, 512, 513])) == [0, 0.2, 0]
    assert scores("length_band", siblings([1, 1], [160, 257]), low=160, high=256) == [0.2, 0]


def test_a_length_may_follow_a_schedule():
    build = build_verifier("overlong", {"max_length": {0.0: 100, 0.5: 200}, "cache_length": 50})
    early, late = (
        Sample(row=ROW, text="", length=120, progress=progress) for progress in (0.5, 0.6)
    )
    assert (build(early).score, build(late).score) == (-1.0, 0.0)


LINE = "the same seven words in one line\n"


@pytest.mark.parametrize(
    ("text", "params", "expected"),
    [
        ("a b c", {}, 0.0),
        (" ".join(f"w{i}" for i in range(40)), {}, 0.0),
        ("a " * 40, {}, -0.5 * (1 - 1 / 21)),
        ("A a " * 20, {}, -0.5 * (1 - 1 / 21)),
        ("a_b c d e f g h i j " * 10, {"rule": "window"}, -1.0),
        ("a_b c d e f g h i j " * 9, {"rule": "window"}, 0.0),
        ("a b c", {"rule": "window"}, 0.0),
        (LINE * 4, {"rule": "lines"}, -0.5),
        (LINE * 3, {"rule": "lines"}, 0.0),
        ("six words are not enough here\n" * 9, {"rule": "lines"}, 0.0),
        ((LINE * 3 + "another line\n") * 3, {"rule": "lines"}, 0.0),
        ("a " * 40, {"penalty": 2.0, "words": 2}, -2.0 * (1 - 1 / 39)),
    ],
)
def test_repetition_is_punished_by_the_rule_chosen(judge, text, params, expected):
    assert judge("repetition", "1", text, **params).score == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "consistent"),
    [
        ("<think>Long.\nSo Response 1 is better.</think><answer>1</answer>", 1.0),
        ("<think>Long.\nSo Response 2 is better.</think><answer>1</answer>", -1.0),
        ("<think>I do not know.</think><answer>1</answer>", 0.0),
        ("<think>so the answer is C</think><answer>C</answer>", 1.0),
        ("<think>so the answer is B</think><answer>C</answer>", -1.0),
        ("<think>it is a red fox</think><answer>Red fox</answer>", 1.0),
        ("<think>it is a hare</think><answer>fox</answer>", 0.0),
        ("<think>2\na\nb\nc</think><answer>2</answer>", 0.0),
        ("<answer>1</answer>", 0.0),
    ],
)
def test_consistency_compares_the_end_of_the_thinking_with_the_answer(judge, text, consistent):
    right = judge("consistency", "1", text, accuracy=1.0)
    assert right.score == consistent
    assert judge("consistency", "1", text, accuracy=0.0).score == 0.0
    paper = judge("consistency", "1", text, accuracy=1.0, mismatch=0.0)
    assert paper.score == max(0.0, consistent)


@pytest.mark.parametrize(
    ("accuracy", "consistent", "form", "total"),
    [(1, 1, 1, 2.0), (1, -1, 1, 1.0), (0, 1, 1, 0.5), (1, 1, 0, 1.5)],
)
def test_r1_rewards_total_is_a_weighted_sum(judge, accuracy, consistent, form, total):
    said = "1" if consistent == 1 else "2"
    text = f"<think>it is {said}</think>" + (" " if not form else "") + "<answer>1</answer>"
    term = judge("consistency", "1", text, accuracy=float(accuracy)).score
    shape = judge("think_answer", "1", text, between="nothing").score
    assert accuracy + 0.5 * term + 0.5 * shape == total
