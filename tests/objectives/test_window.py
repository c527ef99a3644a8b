"""Advantages of windows that cut a completion, against a double sum."""

from __future__ import annotations

import pytest

from mmrl.objectives.window import window_advantages, window_mask


def test_a_cut_window_takes_the_last_value_to_go_on():
    found = window_advantages([0.2, 0.5, 0.4], reward=None, discount=1, decay=1)
    assert found == pytest.approx([0.2, -0.1, 0.0])


@pytest.mark.parametrize("reward", [None, 0.0, 1.0])
@pytest.mark.parametrize("values", [[0.3], [0.2, 0.5, 0.4], [0.1, -0.4, 0.9, 0.2, 0.2]])
def test_a_double_sum_finds_the_same(values, reward):
    discount, decay = 0.9, 0.8
    after = [*values[1:], values[-1]]
    deltas = [discount * v - value for v, value in zip(after, values, strict=True)]
    if reward is not None:
        deltas[-1] = reward - values[-1]
    expected = [
        sum((discount * decay) ** (k - t) * deltas[k] for k in range(t, len(values)))
        for t in range(len(values))
    ]
    found = window_advantages(values, reward=reward, discount=discount, decay=decay)
    assert found == pytest.approx(expected)


def test_without_decay_a_finished_window_is_compared_with_its_reward():
    assert window_advantages([0.2, 0.5], reward=1.0, discount=1, decay=1) == pytest.approx(
        [0.8, 0.5]
    )
    assert window_advantages([], reward=1.0, discount=1, decay=1) == []


def test_windows_cover_a_completion_once():
    masks = [window_mask(7, start=start, window=3) for start in (0, 3, 6)]
    assert [sum(column) for column in zip(*masks, strict=True)] == [1] * 7
    assert masks[1] == [0, 0, 0, 1, 1, 1, 0]
