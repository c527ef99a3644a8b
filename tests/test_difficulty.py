"""The four signals of difficulty against published figures and against slower computations."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from mmrl.difficulty import (
    AngleSignal,
    angle_difficulty,
    angle_signal,
    in_window,
    lim_scores,
    mcts_difficulty,
    mcts_keeps,
    pass_rate_interval,
    success_variance,
    tree_priority,
)


def binomial_tail(right: int, tried: int, p: float) -> float:
    return sum(math.comb(tried, k) * p**k * (1 - p) ** (tried - k) for k in range(right, tried + 1))


@pytest.mark.parametrize(("right", "tried"), [(0, 8), (1, 8), (4, 8), (8, 8), (9, 50), (1, 1)])
def test_the_ends_of_the_exact_interval_leave_half_the_doubt_on_each_side(right, tried):
    low, high = pass_rate_interval(right, tried, method="clopper_pearson")
    if right == 0:
        assert low == 0
    else:
        assert binomial_tail(right, tried, low) == pytest.approx(0.025, abs=1e-8)
    if right == tried:
        assert high == 1
    else:
        assert 1 - binomial_tail(right + 1, tried, high) == pytest.approx(0.025, abs=1e-8)


def test_known_intervals():
    # rule of three and its exact form: 1 - 0.025 ** (1 / n)
    assert pass_rate_interval(0, 10, method="clopper_pearson")[1] == pytest.approx(
        1 - 0.025**0.1, abs=1e-9
    )
    assert pass_rate_interval(81, 263) == pytest.approx((0.25529, 0.36621), abs=1e-4)


@pytest.mark.parametrize("right", range(9))
def test_wilsons_ends_are_where_the_score_test_just_rejects(right):
    low, high = pass_rate_interval(right, 8)
    for end in (low, high):
        if 0 < end < 1:
            score = (right / 8 - end) / math.sqrt(end * (1 - end) / 8)
            assert abs(score) == pytest.approx(1.959964, abs=1e-5)
    assert low <= right / 8 <= high


def test_more_rollouts_and_less_confidence_make_an_interval_narrower():
    for method in ("wilson", "clopper_pearson"):
        widths = [np.ptp(pass_rate_interval(n // 2, n, method=method)) for n in (2, 8, 64, 512)]
        assert all(wide > narrow for wide, narrow in pairwise(widths))
        wide = pass_rate_interval(3, 8, confidence=0.99, method=method)
        narrow = pass_rate_interval(3, 8, confidence=0.5, method=method)
        assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize(("right", "tried"), [(-1, 3), (4, 3), (0, 0)])
def test_an_impossible_count_is_refused(right, tried):
    with pytest.raises(ValueError, match="right answers"):
        pass_rate_interval(right, tried)


def test_the_filter_keeps_the_published_counts_of_eight():
    assert [right for right in range(9) if in_window(right / 8)] == [2, 3, 4, 5, 6]
    assert [success_variance(p) for p in (0.1, 0.3, 0.5)] == pytest.approx([0.09, 0.21, 0.25])


def test_the_tree_search_counts_as_published():
    assert tree_priority(0, 1, 4) == pytest.approx(1.177410, abs=1e-6)
    assert [mcts_keeps(k) for k in (1, 5, 6, 50, None)] == [False, False, True, True, True]


def test_an_unsolved_row_is_harder_than_one_that_is_solved_last():
    found = [mcts_difficulty(k) for k in (1, 2, 50, None)]
    assert found == sorted(set(found))
    assert found[-1] == 1
    with pytest.raises(ValueError, match="51 iterations"):
        mcts_difficulty(51)


def test_lim_gives_the_published_vector():
    curves = [[0, 0.5, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0.25, 0.5, 0.75, 1]]
    assert lim_scores(curves) == pytest.approx([0.707965, 0.0, -0.566372, 0.920354], abs=1e-6)


def test_a_gap_is_filled_from_the_next_epoch_only():
    filled = lim_scores([[0, None, 1], [0.5, 0.5, 0.5]])
    assert filled == pytest.approx(lim_scores([[0, 1, 1], [0.5, 0.5, 0.5]]))
    last, whole = lim_scores([[0, 1, None], [0.5, 0.5, 0.5]])
    assert last is None
    assert whole == 1.0
    assert lim_scores([[None, None, 1]]) == [None]


def test_where_all_is_always_right_alignment_says_nothing():
    assert lim_scores([[1, 1], [1, 1]]) == [0.0, 0.0]
    assert lim_scores([]) == []
    with pytest.raises(ValueError, match="epochs"):
        lim_scores([[1], [1, 0]])


def test_angles_give_the_published_vector():
    signal = angle_signal(np.array([[1, 0], [1, 1], [0, 1]]), shared=1)
    assert (signal.intra, signal.inter) == pytest.approx((0.853553, 0.353553), abs=1e-6)


def test_angles_are_the_mean_of_all_cosines():
    hidden_TD = np.random.default_rng(0).normal(size=(17, 5))
    units_TD = hidden_TD / np.linalg.norm(hidden_TD, axis=1, keepdims=True)
    cosines_TT = units_TD @ units_TD.T
    signal = angle_signal(hidden_TD, shared=6)
    assert signal.intra == pytest.approx(cosines_TT[6:, 6:].mean())
    assert signal.inter == pytest.approx(cosines_TT[6:, :6].mean())
    assert angle_signal(hidden_TD).intra == pytest.approx(cosines_TT.mean())


def test_what_points_one_way_is_learned_first():
    alike, apart = np.ones((4, 3)), np.eye(3)
    assert angle_difficulty(angle_signal(alike, shared=1)) == pytest.approx(0)
    assert angle_difficulty(angle_signal(apart, shared=1)) > 0.3
    assert angle_difficulty(AngleSignal(intra=0, inter=-1)) == 1
    assert angle_signal(np.zeros((2, 3))).total == 0


@pytest.mark.parametrize("shared", [-1, 3])
def test_a_prompt_without_tokens_of_its_own_has_no_signal(shared):
    with pytest.raises(ValueError, match="shared"):
        angle_signal(np.ones((3, 2)), shared=shared)
    with pytest.raises(ValueError, match="finite"):
        angle_signal(np.array([[np.nan, 1.0]]))
