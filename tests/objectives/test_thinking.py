"""Rewards for thinking and for not thinking."""

from __future__ import annotations

import math

import pytest

from mmrl.objectives.thinking import autothink_rewards, balance_modes, drop_thought, length_terms


def test_a_dropped_thought_is_empty_and_the_rest_stays():
    text = "<think>so\nand so</think> then <answer>3</answer> <think>again</think>"
    expected = "<think>\n\n</think> then <answer>3</answer> <think>again</think>"
    assert drop_thought(text) == expected
    assert drop_thought("no thought here") == "no thought here"
    assert drop_thought("<think>never closed") == "<think>never closed"


def test_right_without_a_thought_is_worth_most():
    thought = [True, True, False, False, True]
    right = [True, False, True, False, None]
    assert autothink_rewards(thought, right) == [1.0, 0.0, 2.0, -1.0, 0.0]


def _balanced(thought, right, **options):
    return balance_modes(autothink_rewards(thought, right), thought, right, **options)


def test_a_mode_that_takes_over_loses_its_worth():
    assert _balanced([True] * 4, [True, False, True, True]) == [0, -1, 0, 0]
    assert _balanced([False] * 2, [True, False]) == [1, -2]
    three_of_four = _balanced([True, True, True, False], [True, False, True, True])
    assert three_of_four == [0.5, -0.5, 0.5, 2.0]


def test_an_even_batch_and_a_rate_of_one_change_nothing():
    thought, right = [True, True, False, False], [True, False, True, None]
    rewards = autothink_rewards(thought, right)
    assert balance_modes(rewards, thought, right) == rewards
    assert _balanced([True] * 4, [True] * 4, rate=1.0) == [1.0] * 4
    assert balance_modes([], [], []) == []


def test_short_right_answers_and_long_wrong_ones_gain():
    found = length_terms([100, 200, 300], [True] * 3)
    assert found == pytest.approx([0.051271, 0.0, -0.048771], abs=1e-6)
    wrong = length_terms([100, 200, 300], [False] * 3)
    assert wrong == pytest.approx([1 - math.exp(0.05), 0.0, 1 - math.exp(-0.05)])


def test_a_lone_answer_and_equal_lengths_have_no_length_term():
    assert length_terms([100, 500, 900], [True, False, None]) == [0.0, 0.0, 0.0]
    assert length_terms([70, 70], [True, True]) == [0.0, 0.0]
