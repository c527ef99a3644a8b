"""Teacher traces and the weight of imitation; above all its sign."""

from __future__ import annotations

import math

import pytest
import torch

from mmrl.advantage import assign_advantages
from mmrl.objectives.imitation import (
    ImitationWeight,
    choose_teachers,
    comprehension,
    imitation_gain,
)


def test_comprehension_is_the_geometric_mean_and_a_probability():
    assert comprehension([math.log(0.9), math.log(0.4)]) == pytest.approx(0.6)
    assert comprehension([0.0, 0.0]) == 1.0
    assert comprehension([]) == 0.0


def test_the_best_comprehended_traces_come_first_and_of_equals_the_shorter():
    assert choose_teachers([0.2, 0.9, 0.5, 0.9], [10, 30, 10, 20]) == [3, 1]
    assert choose_teachers([0.2], [5]) == [0]
    assert choose_teachers([], []) == []


def test_traces_in_a_failing_group_give_it_advantages():
    """AMPO's and LUFFY's worked groups; both take the mean away and divide by nothing."""
    [two] = assign_advantages([[1, 1, 0, 0, 0, 0, 0, 0]], "dr_grpo")
    assert two == [0.75, 0.75] + [-0.25] * 6
    [one] = assign_advantages([[0] * 7 + [1]], "dr_grpo")
    assert one == [-0.125] * 7 + [0.875]


def test_imitation_that_lowers_the_validation_loss_gains_weight():
    """The paper's one-dimensional case: the validation gradient agrees with that of imitation."""
    one, zero = torch.ones(1), torch.zeros(1)
    gain = imitation_gain(one, one, zero, lr=0.1)
    assert gain == pytest.approx(0.1)
    weight = ImitationWeight(weight=0.5, target_entropy=1.0)
    assert weight.update(entropy=1.0, gain=gain) > 0.5
    harm = imitation_gain(one, -one, zero, lr=0.1)
    assert harm == pytest.approx(-0.1)
    assert ImitationWeight(weight=0.5, target_entropy=1.0).update(entropy=1.0, gain=harm) < 0.5


def test_a_step_along_the_gain_lowers_the_validation_loss_of_a_real_model():
    """Not by the formula: two weights, one training step each, and the loss is looked at."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, generator=generator).double()
    targets = torch.randn(3, 4, generator=generator).double()

    def gradient(theta: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return theta - target

    def loss_after(weight: float) -> float:
        imitation, reinforcement = gradient(start, targets[0]), gradient(start, targets[1])
        theta = start - 1e-4 * (weight * imitation + (1 - weight) * reinforcement)
        return (theta - targets[2]).square().sum().item() / 2

    gain = imitation_gain(
        gradient(start, targets[2]),
        gradient(start, targets[0]),
        gradient(start, targets[1]),
        lr=1e-4,
    )
    slope = (loss_after(0.51) - loss_after(0.49)) / 0.02
    assert gain == pytest.approx(-slope, rel=0.01)
    before = 0.5
    after = ImitationWeight(weight=before, target_entropy=0.0, gain_rate=1.0).update(
        entropy=0.0, gain=gain
    )
    assert loss_after(after) < loss_after(before)


@pytest.mark.parametrize(
    ("weight", "gain", "entropy", "expected"),
    [
        (0.8, 0.5, 1.0, 0.80015),
        (0.95, 0.5, 1.0, 0.95),
        (0.05, -9.0, 9.0, 0.05),
        (0.5, 0.0, 1.4, 0.4999),
    ],
)
def test_worked_numbers_of_the_weight(weight, gain, entropy, expected):
    controller = ImitationWeight(weight=weight, target_entropy=1.2)
    assert controller.update(entropy=entropy, gain=gain) == pytest.approx(expected)


def test_entropy_that_collapses_raises_the_weight():
    assert ImitationWeight(weight=0.5, target_entropy=1.2).update(entropy=0.1) > 0.5


def test_the_weight_goes_on_where_it_was():
    first = ImitationWeight(weight=0.8, target_entropy=1.2)
    first.update(entropy=1.0)
    second = ImitationWeight(target_entropy=0.0)
    second.load_state_dict(first.state_dict())
    assert second.update(entropy=0.7) == first.update(entropy=0.7)
