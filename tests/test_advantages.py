"""Advantages against worked numbers and against a naive computation in torch."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrl.advantage import (
    EPS,
    BatchForm,
    GroupForm,
    assign_advantages,
    outcome_advantages,
    spread,
    without_outliers,
)
from mmrl.rubric import combine

GROUP_FORMS = get_args(GroupForm)
BATCH_FORMS = get_args(BatchForm)

SCORES_PG = st.lists(
    st.lists(
        st.none() | st.floats(-2, 2, allow_nan=False).map(lambda score: round(score, 3)),
        min_size=1,
        max_size=6,
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("dr_grpo", [0.4, -0.6, -0.6, 0.4, 0.4]),
        ("grpo", [0.730297, -1.095445, -1.095445, 0.730297, 0.730297]),
        ("rloo", [0.5, -0.75, -0.75, 0.5, 0.5]),
    ],
)
def test_worked_numbers_of_one_group(form, expected):
    [found] = assign_advantages([[1, 0, 0, 1, 1]], form)
    assert found == pytest.approx(expected, rel=3e-4)


def test_rloo_compares_with_the_mean_of_the_others():
    [found] = assign_advantages([[1.0, 0.0, 0.5]], "rloo")
    assert found == pytest.approx([1 - 0.25, 0 - 0.75, 0.5 - 0.5])


def test_lite_ppo_divides_by_the_spread_of_all_rewards_of_the_batch():
    """Not by the spread of what is left when the groups' means are taken away (0.462910)."""
    found = assign_advantages([[1, 0, 0, 0], [1, 1, 1, 0]], "lite_ppo")
    assert found[0] == pytest.approx([1.403122] + [-0.467707] * 3, rel=3e-4)
    assert found[1] == pytest.approx([0.467707] * 3 + [-1.403122], rel=3e-4)


@pytest.mark.parametrize("form", GROUP_FORMS)
@pytest.mark.parametrize("score", [0.0, 1.0, 0.1, 1 / 3])
def test_a_group_that_agrees_teaches_nothing(form, score):
    assert assign_advantages([[score] * 7, [1.0, 0.0]], form)[0] == [0.0] * 7


@pytest.mark.parametrize("form", GROUP_FORMS)
@pytest.mark.parametrize("scores_G", [[None, None], [1.0, None], [None, 0.0, None], [0.7]])
def test_a_score_without_judged_siblings_teaches_nothing(form, scores_G):
    assert assign_advantages([scores_G, [1.0, 0.0]], form)[0] == [0.0] * len(scores_G)


@pytest.mark.parametrize("form", GROUP_FORMS)
def test_what_could_not_be_judged_leaves_the_group(form):
    """Its siblings are compared as if it had never been sampled."""
    with_none = assign_advantages([[1.0, None, 0.0, 0.5], [None, 1.0, 0.0]], form)
    without = assign_advantages([[1.0, 0.0, 0.5], [1.0, 0.0]], form)
    assert with_none[0] == [without[0][0], 0.0, *without[0][1:]]
    assert with_none[1] == [0.0, *without[1]]


@pytest.mark.parametrize("form", [*GROUP_FORMS, *BATCH_FORMS])
@given(scores_PG=SCORES_PG)
def test_a_naive_computation_finds_the_same(form, scores_PG):
    found = assign_advantages(scores_PG, form)
    expected = _naive(scores_PG, form)
    for mine, other in zip(found, expected, strict=True):
        assert mine == pytest.approx(other, rel=1e-6, abs=1e-6)


@given(scores_PG=SCORES_PG)
def test_advantages_of_a_group_sum_to_zero_and_keep_the_order(scores_PG):
    for form in GROUP_FORMS:
        for scores_G, advantages_G in zip(
            scores_PG, assign_advantages(scores_PG, form), strict=True
        ):
            assert sum(advantages_G) == pytest.approx(0, abs=1e-6)
            pairs = [
                pair for pair in zip(scores_G, advantages_G, strict=True) if pair[0] is not None
            ]
            ordered = [advantage for _, advantage in sorted(pairs)]
            assert ordered == sorted(ordered)


@pytest.mark.parametrize(
    ("scores_G", "expected"),
    [([1, 0, None], math.sqrt(0.5)), ([0.3], 0.0), ([None], 0.0), ([], 0.0), ([0.1] * 3, 0.0)],
)
def test_the_spread_is_that_of_the_judged(scores_G, expected):
    assert spread(scores_G) == pytest.approx(expected)


def test_the_batch_form_compares_with_everything_that_was_judged():
    found = assign_advantages([[1, 0], [1, None]], "batch")
    assert found[0] == pytest.approx(
        [(1 / 3) / math.sqrt(1 / 3), (-2 / 3) / math.sqrt(1 / 3)], 1e-3
    )
    assert found[1] == [found[0][0], 0.0]


def test_gdpo_normalises_each_term_in_its_group_and_then_the_batch():
    """Two completions that differ in one term only are told apart, however their sums are scaled."""
    weights = [{"accuracy": 1.0, "format": 0.5}] * 3
    groups = [[(1, 1), (0, 1), (1, 0)], [(0, 0), (0, 1), (0, 0)]]
    scores_PG = [
        combine("normalise", [{"accuracy": a, "format": f} for a, f in group], weights)
        for group in groups
    ]
    found = assign_advantages(scores_PG, "batch")
    sums = []
    for group in groups:
        columns = torch.tensor(group, dtype=torch.float64)
        std = columns.std(0)
        normal = torch.where(std > 0, (columns - columns.mean(0)) / (std + 1e-4), 0.0)
        sums.append(normal @ torch.tensor([1.0, 0.5], dtype=torch.float64))
    expected = torch.stack(sums)
    expected = (expected - expected.mean()) / (expected.std() + EPS)
    assert torch.tensor(found).flatten().tolist() == pytest.approx(expected.flatten().tolist())


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("psr", [1.0, None, 1.0, None]),
        ("nsr", [None, -1.0, None, -1.0]),
        ("w_reinforce", [0.1, -1.0, 0.1, -1.0]),
    ],
)
def test_the_outcome_alone_decides(form, expected):
    assert outcome_advantages([[1, 0, 1, 0]], form) == [expected]


def test_what_counts_as_right_and_what_it_weighs_can_be_said():
    found = outcome_advantages([[0.6, 0.4, None]], "w_reinforce", right=0.5, positive_weight=0.3)
    assert found == [[0.3, -1.0, 0.0]]
    assert outcome_advantages([[1.0, None]], "psr") == [[1.0, None]]


def test_a_few_among_many_equals_are_filtered_out():
    """Of 255 ones and a zero, the zero is 16 deviations away."""
    kept = without_outliers([1.0] * 255 + [0.0], limit=3)
    assert kept[:255] == pytest.approx([0.062622] * 255, rel=1e-5)
    assert kept[255] == 0
    all_of_them = without_outliers([1.0] * 255 + [0.0], limit=20)
    assert all_of_them[255] == pytest.approx(-15.968719)


def test_an_even_batch_is_only_standardised():
    assert without_outliers([1.0, -1.0, 1.0, -1.0], limit=3) == [1.0, -1.0, 1.0, -1.0]
    assert without_outliers([2.0, 0.0], limit=3) == [1.0, -1.0]


@pytest.mark.parametrize("advantages_B", [[], [0.7], [0.1] * 5])
def test_a_batch_that_agrees_has_no_outliers_and_no_advantage(advantages_B):
    assert without_outliers(advantages_B, limit=3) == [0.0] * len(advantages_B)


def _naive(scores_PG, form: str) -> list[list[float]]:
    groups = [torch.tensor([math.nan if s is None else s for s in g]).double() for g in scores_PG]
    everything = torch.cat(groups)
    known = everything[~everything.isnan()]
    found = []
    for scores_G in groups:
        if form == "none":
            found.append(scores_G.nan_to_num(0.0).tolist())
            continue
        if form == "batch":
            agree = len(known) < 2 or known.min() == known.max()
            apart = (scores_G - known.mean()) / (1.0 if agree else known.std() + EPS)
            found.append((apart * (not agree)).nan_to_num(0.0).tolist())
            continue
        judged = scores_G[~scores_G.isnan()]
        if len(judged) < 2 or judged.min() == judged.max():
            found.append([0.0] * len(scores_G))
            continue
        centred = scores_G - judged.mean()
        if form == "grpo":
            centred = centred / (judged.std() + EPS)
        elif form == "lite_ppo":
            centred = centred / (known.std() + EPS)
        elif form == "rloo":
            total, count = judged.sum(), len(judged)
            centred = scores_G - (total - scores_G) / (count - 1)
        found.append(centred.nan_to_num(0.0).tolist())
    return found
