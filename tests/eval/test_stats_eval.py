"""The statistics of evaluations, against numbers worked by hand, by brute force and by simulation."""

from __future__ import annotations

import itertools
import random
from statistics import fmean, stdev

import pytest

from mmrl.evals.stats import (
    aggregate_interval,
    majority,
    mcnemar,
    mean_interval,
    paired_interval,
    pass_at_k,
)


@pytest.mark.parametrize(
    ("n", "c", "k", "chance"),
    [
        (8, 1, 1, 0.125),
        (8, 2, 4, 0.785714),
        (16, 4, 8, 0.961538),
        (4, 2, 2, 0.833333),
        (8, 3, 8, 1.0),
        (8, 0, 4, 0.0),
    ],
)
def test_pass_at_k_is_unbiased(n, c, k, chance):
    assert pass_at_k(n, c, k) == pytest.approx(chance, abs=5e-7)


@pytest.mark.parametrize("n", [1, 3, 6])
def test_pass_at_k_counts_the_draws_that_hold_a_right_sample(n):
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        draws = list(itertools.combinations(range(n), k))
        hits = sum(any(place < c for place in draw) for draw in draws)
        assert pass_at_k(n, c, k) == pytest.approx(hits / len(draws))


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 5, 2), (4, -1, 2), (4, 1, 0)])
def test_pass_at_k_of_more_samples_than_there_are_is_an_error(n, c, k):
    with pytest.raises(ValueError, match="not defined"):
        pass_at_k(n, c, k)


def test_a_majority_is_of_answers_not_of_verdicts():
    # three wrong samples, each in its own way, against two that agree
    assert majority([("1", 0.0), ("2", 0.0), ("3", 0.0), ("7", 1.0), ("7", 1.0)]) == 1.0


def test_samples_without_an_answer_do_not_vote():
    assert majority([(None, 0.0), (None, 0.0), (None, 0.0), ("7", 1.0)]) == 1.0
    assert majority([(None, 0.0), (None, 0.0)]) == 0.0


def test_a_tie_is_worth_the_expected_credit():
    assert majority([("7", 1.0), ("8", 0.0)]) == 0.5
    assert majority([("7", 1.0), ("8", 0.0), ("9", 0.0)]) == pytest.approx(1 / 3)
    assert majority([("7", 1.0), ("8", 0.0), ("8", 0.0), ("7", 1.0), ("9", 0.0)]) == 0.5


def test_mcnemar_agrees_with_the_published_comparisons():
    assert mcnemar(175, 148) == pytest.approx(0.148, abs=5e-4)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(1, 8) == mcnemar(8, 1) == pytest.approx(2 * (1 + 9) / 512)


def test_a_lead_of_less_than_three_points_on_a_thousand_items_is_no_result():
    first = [1.0] * 175 + [0.0] * 148 + [1.0] * 300 + [0.0] * 377
    other = [0.0] * 175 + [1.0] * 148 + [1.0] * 300 + [0.0] * 377
    found = paired_interval(first, other)
    assert found.value == pytest.approx(0.027)
    assert found.low == pytest.approx(-0.008, abs=0.003)
    assert found.high == pytest.approx(0.061, abs=0.003)


@pytest.mark.parametrize(("n", "half"), [(100, 0.09), (300, 0.052), (1000, 0.028), (5130, 0.0125)])
def test_the_interval_of_an_accuracy_has_the_known_width(n, half):
    found = mean_interval([1.0] * round(0.7 * n) + [0.0] * (n - round(0.7 * n)))
    assert found.value == pytest.approx(0.7)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)


def test_items_of_a_cluster_are_drawn_together():
    values = [float(cluster % 2) for cluster in range(40) for _ in range(10)]
    names = [f"video {cluster}" for cluster in range(40) for _ in range(10)]
    alone, together = mean_interval(values), mean_interval(values, names)
    assert together.value == alone.value
    assert together.high - together.low == pytest.approx(
        10**0.5 * (alone.high - alone.low), rel=0.1
    )


def test_the_clustered_error_is_that_of_a_naive_bootstrap():
    rng = random.Random(1)
    values = [rng.random() for _ in range(30)]
    names = [rng.choice("abcdefgh") for _ in values]
    members = {name: [v for v, n in zip(values, names, strict=True) if n == name] for name in names}
    means = []
    for _ in range(4000):
        drawn = [
            value for name in rng.choices(list(members), k=len(members)) for value in members[name]
        ]
        means.append(fmean(drawn))
    found = mean_interval(values, names, resamples=4000)
    assert found.high - found.low == pytest.approx(3.92 * stdev(means), rel=0.08)


def test_items_without_a_cluster_stand_alone():
    values = [0.0, 1.0] * 50
    assert mean_interval(values, [""] * 100) == mean_interval(values)


def test_the_same_values_give_the_same_interval():
    values = [random.Random(0).random() for _ in range(50)]
    assert mean_interval(values) == mean_interval(list(values))


def test_any_number_has_the_interval_that_its_mean_would_have():
    values = [float(place % 3 == 0) for place in range(60)]
    names = [f"seed {place // 3}" for place in range(60)]
    found = aggregate_interval(
        values, names, lambda drawn: fmean(value for value, _ in drawn), resamples=2000
    )
    assert found == mean_interval(values, names, resamples=2000)


def test_each_copy_of_a_cluster_has_a_name_of_its_own():
    seen = []

    def worst(drawn):
        groups = {}
        for value, name in drawn:
            groups.setdefault(name, []).append(value)
        seen.append(len(groups))
        return fmean(min(group) for group in groups.values())

    found = aggregate_interval([1, 1, 1, 0], ["a", "a", "b", "b"], worst, resamples=50)
    assert found.value == 0.5
    assert set(seen) == {2}


def test_no_values_have_no_mean():
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
