"""Entropy masks and entropy modulation, against worked numbers and a sort."""

from __future__ import annotations

import math

import pytest
import torch

from mmrl.objectives.entropy import high_entropy_threshold, modulate_by_entropy


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 2, 10, 101])
def test_the_threshold_is_the_quantile_that_leaves_the_share(share, count):
    entropies_M = torch.rand(count, generator=torch.Generator().manual_seed(count))
    threshold = high_entropy_threshold(entropies_M, share=share)
    assert threshold == pytest.approx(torch.quantile(entropies_M, 1 - share).item(), abs=1e-6)


def test_a_fifth_of_ten_tokens_are_two():
    entropies_M = torch.arange(10.0)[torch.randperm(10)]
    threshold = high_entropy_threshold(entropies_M, share=0.2)
    assert int((entropies_M >= threshold).sum()) == 2
    assert int((entropies_M >= high_entropy_threshold(entropies_M, share=1.0)).sum()) == 10


def test_of_no_tokens_none_is_uncertain():
    assert high_entropy_threshold(torch.zeros(0), share=0.2) == math.inf


def test_worked_numbers_of_entropy_modulation():
    found = modulate_by_entropy([1.0], [[0.2, 1.0, 0.6]], clarity_weight=0.1)
    assert found[0] == pytest.approx([0.523749, -0.412856, -0.110893], abs=1e-6)
    gains = [1.519441, 0.558971, 0.921588]
    centred = [gain - sum(gains) / 3 for gain in gains]
    assert modulate_by_entropy([1.0], [[0.2, 1.0, 0.6]])[0] == pytest.approx(centred, abs=1e-6)


def test_confident_completions_move_more_in_either_direction():
    found = modulate_by_entropy([1.0, 1.0, -1.0, -1.0], [[0.1], [0.9], [0.1], [0.9]])
    right_sure, right_unsure, wrong_sure, wrong_unsure = (steps_S[0] for steps_S in found)
    assert right_sure > right_unsure > 0 > wrong_unsure > wrong_sure
    assert right_sure == pytest.approx(-wrong_sure)


def test_modulated_advantages_have_no_mean_and_equal_entropies_change_nothing_else():
    found = modulate_by_entropy([0.7, -0.3], [[0.5, 0.5], [0.5]])
    flat = [value for steps_S in found for value in steps_S]
    assert sum(flat) == pytest.approx(0, abs=1e-12)
    mean = (0.7 + 0.7 - 0.3) / 3
    assert flat == pytest.approx([0.7 - mean, 0.7 - mean, -0.3 - mean])


def test_a_completion_without_steps_has_no_advantages():
    assert modulate_by_entropy([1.0, 0.5], [[], []]) == [[], []]
    assert modulate_by_entropy([1.0, 0.5], [[], [0.3]])[0] == []
