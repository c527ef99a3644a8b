"""Group terms: votes, the bonus for the shortest, temporal contrast, DAST; worked groups and
guards."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import pytest

from mmrl.reward import build_group_reward, sample_of
from mmrl.types import Medium, Row, Sample, Verdict


def group(
    answers: Sequence[object],
    *,
    gold: object = "",
    lengths: Sequence[int] | None = None,
    accuracies: Sequence[float | None] | None = None,
    **row,
) -> list[Sample]:
    made = Row(**{"id": "r", "source": "s", "prompt": [], "answer": gold, "verifier": ()} | row)
    texts = ["no idea" if answer is None else f"<answer>{answer}</answer>" for answer in answers]
    return [
        dataclasses.replace(
            sample_of(made, text, length=lengths[index] if lengths else 0),
            accuracy=accuracies[index] if accuracies else None,
        )
        for index, text in enumerate(texts)
    ]


def scores(name: str, samples: Sequence[Sample], **params) -> list[float | None]:
    return [verdict.score for verdict in build_group_reward(name, params)(samples)]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([5, 5, 3, 5, 2], [1, 1, 0, 1, 0]),
        ([3, 5, 3, 5], [1, 0, 1, 0]),
        ([None, None, 7], [0, 0, 1]),
        ([None, None], [0, 0]),
        (["", "", 7], [0, 0, 1]),
        (["None", "None", 7], [1, 1, 0]),
        (["5", "5.0", "4", "4", "$5$"], [1, 1, 0, 0, 1]),
        (["Dog", "a cat", "dog"], [1, 0, 1]),
    ],
)
def test_the_most_frequent_answer_wins_and_no_answer_has_no_vote(answers, expected):
    assert scores("majority_vote", group(answers)) == expected


def test_an_answer_that_was_not_found_says_so():
    verdicts = build_group_reward("majority_vote")(group([None, 7, 7]))
    assert [verdict.status for verdict in verdicts] == ["no_answer", "ok", "ok"]
    parts = {"agreement": pytest.approx(2 / 3), "entropy": 0}
    assert verdicts[1] == Verdict(score=1.0, parts=parts)


def test_votes_can_be_compared_letter_for_letter():
    samples = group(["5", "5.0", "5"])
    assert scores("majority_vote", samples, equality="text") == [1, 0, 1]


def test_majority_equals_a_naive_count():
    rng = random.Random(0)
    for _ in range(50):
        answers = [rng.choice([None, "a", "b", "c"]) for _ in range(rng.randrange(1, 9))]
        voted = [answer for answer in answers if answer is not None]
        best = max((voted.count(answer) for answer in voted), default=0)
        first = next((answer for answer in voted if voted.count(answer) == best), None)
        expected = [float(answer is not None and answer == first) for answer in answers]
        assert scores("majority_vote", group(answers)) == expected


def test_the_shortest_right_sibling_gets_the_bonus():
    right = [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0]
    lengths = [150, 120, 10, 10, 10, 10, 1, 1]
    samples = group(["x"] * 8, lengths=lengths, accuracies=right)
    assert scores("concise_bonus", samples) == [0, 0.2, 0, 0, 0, 0, 0, 0]
    assert scores("concise_bonus", samples, bonus=0.5, min_length=119)[1] == 0.5
    assert scores("concise_bonus", samples, min_length=120) == [0] * 8


def test_nobody_right_means_no_bonus_for_anybody():
    samples = group(["x"] * 3, lengths=[200, 300, 400], accuracies=[0.0, 0.9, 0.5])
    assert scores("concise_bonus", samples) == [0, 0, 0]


def test_a_right_answer_of_a_hundred_tokens_is_too_short_and_the_next_one_does_not_inherit():
    samples = group(["x"] * 2, lengths=[100, 101], accuracies=[1.0, 1.0])
    assert scores("concise_bonus", samples) == [0, 0]
    samples = group(["x"] * 2, lengths=[101, 101], accuracies=[1.0, 1.0])
    assert scores("concise_bonus", samples) == [0.2, 0]


def test_a_sibling_that_nobody_judged_is_an_error_and_no_neighbour_suffers():
    samples = group(["x"] * 3, lengths=[300, 120, 200], accuracies=[1.0, None, 1.0])
    for name in ("concise_bonus", "dast"):
        verdicts = build_group_reward(name)(samples)
        assert [verdict.status for verdict in verdicts] == ["ok", "error", "ok"]
    assert build_group_reward("concise_bonus")(samples)[2].score == 0.2


@pytest.mark.parametrize(
    ("votes", "entropy"),
    [("aaaaaabbbc", 0.8979457), ("aaaaaaaaaa", 0), ("abcdefghij", 2.3025851)],
)
def test_the_entropy_of_the_votes_is_reported(votes, entropy):
    verdicts = build_group_reward("majority_vote")(group(votes))
    assert verdicts[0].parts["entropy"] == pytest.approx(entropy, abs=1e-7)


VIDEO = [
    {"role": "user", "content": [{"type": "video", "video": Medium(kind="video", source=b"")}]}
]


@pytest.mark.parametrize(
    ("shuffled", "expected"),
    [
        ([1, 0, 0, 0], [0.3, 0, 0.3, 0, 0.3, 0, 0, 0]),
        ([1, 1, 0, 0], [0] * 8),
        ([0, 0, 0, 0], [0.3, 0, 0.3, 0, 0.3, 0, 0, 0]),
    ],
)
def test_order_is_rewarded_where_it_helps(shuffled, expected):
    accuracies = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    extra = {"shuffled_accuracy": shuffled}
    samples = group(["x"] * 8, accuracies=accuracies, extra=extra, prompt=VIDEO)
    assert scores("temporal_contrast", samples) == expected


def test_the_ratio_is_reached_on_the_border_and_missing_verdicts_count_in_no_mean():
    extra = {"shuffled_accuracy": [1, 1, 0, 0]}
    samples = group(["x"] * 5, accuracies=[1.0, 1.0, 0.0, 0.0, 0.0], extra=extra)
    assert scores("temporal_contrast", samples) == [0.3, 0.3, 0, 0, 0]
    samples = group(["x"] * 6, accuracies=[1.0, 1.0, 0.0, 0.0, 0.0, None], extra=extra)
    assert scores("temporal_contrast", samples) == [0.3, 0.3, 0, 0, 0, None]
    samples = group(["x"] * 3, accuracies=[0.1, 0.11, 0.0], extra={"shuffled_accuracy": [0.0]})
    assert scores("temporal_contrast", samples) == [0, 0.3, 0]


def test_an_image_has_no_order_and_a_video_without_its_shuffled_set_is_an_error():
    assert scores("temporal_contrast", group(["x"], accuracies=[1.0])) == [0]
    for extra in ({}, {"shuffled_accuracy": []}, {"shuffled_accuracy": ["a"]}):
        samples = group(["x"], accuracies=[1.0], prompt=VIDEO, extra=extra)
        verdicts = build_group_reward("temporal_contrast")(samples)
        assert [verdict.status for verdict in verdicts] == ["bad_gold"]


@pytest.mark.parametrize(
    ("right", "lengths", "expected"),
    [
        ([1, 1, 0, 0], [100, 200, 300, 400], [0.8182, 0.6364, -0.1, -0.1]),
        ([1, 1, 1, 1], [100, 100, 200, 200], [0.6667, 0.6667, 0.3333, 0.3333]),
        ([0, 0, 0, 0], [100, 200, 300, 400], [-0.775, -0.55, -0.325, -0.1]),
        (
            [1] + [0] * 7,
            list(range(60, 201, 20)),
            [0.8356, -0.6055, -0.5068, -0.4082, -0.3096, -0.2110, -0.1123, -0.1],
        ),
    ],
)
def test_the_length_budget_shrinks_where_more_are_right(right, lengths, expected):
    accuracies = [3.0 * good for good in right]
    samples = group(["x"] * len(right), lengths=lengths, accuracies=accuracies)
    assert scores("dast", samples, right=3) == pytest.approx(expected, abs=5e-5)


def test_completions_without_lengths_cannot_be_compared():
    verdicts = build_group_reward("dast")(group(["x"], accuracies=[1.0]))
    assert verdicts[0].status == "error"


@pytest.mark.parametrize("name", ["majority_vote", "concise_bonus", "temporal_contrast"])
@pytest.mark.parametrize(
    "text", ["(" * 1_000_000, "9" * 1_000_000, "\x00", "NaN", "1e999", "$" * 9]
)
def test_hostile_answers_vote_without_breaking_the_count(name, text):
    samples = group([text, text, "1"], gold="1", accuracies=[0.0, 0.0, 1.0])
    assert all(verdict.status == "ok" for verdict in build_group_reward(name)(samples))
