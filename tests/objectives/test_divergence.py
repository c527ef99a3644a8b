"""Estimates of the divergence, against the exact one over a small vocabulary."""

from __future__ import annotations

import math

import pytest
import torch

from mmrl.objectives.divergence import estimate_kl


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 50, generator=generator).double().log_softmax(-1)


@pytest.mark.parametrize("name", ["k1", "k3"])
def test_the_mean_estimate_is_the_divergence(pair, name):
    policy, reference = pair
    exact = (policy.exp() * (policy - reference)).sum().item()
    found = (policy.exp() * estimate_kl(name, policy, reference)).sum().item()
    assert found == pytest.approx(exact)


def test_k2_and_k3_are_never_negative_and_zero_where_nothing_differs(pair):
    policy, reference = pair
    for name in ("k2", "k3"):
        assert (estimate_kl(name, policy, reference) >= 0).all()
        assert estimate_kl(name, policy, policy).abs().max() == 0
    assert (estimate_kl("k1", policy, reference) < 0).any()


@pytest.mark.parametrize(("name", "right"), [("k1", False), ("k2", True), ("k3", False)])
def test_only_the_gradient_of_k2_is_that_of_the_divergence_by_itself(name, right):
    """Sampled by the policy itself; k1's is zero, k3's that of the divergence the other way."""
    generator = torch.Generator().manual_seed(1)
    logits, reference = torch.randn(2, 20, generator=generator).double()
    logits.requires_grad_()
    reference = reference.log_softmax(-1)
    policy = logits.log_softmax(-1)
    [exact] = torch.autograd.grad((policy.exp() * (policy - reference)).sum(), logits)
    policy = logits.log_softmax(-1)
    estimate = (policy.exp().detach() * estimate_kl(name, policy, reference)).sum()
    [found] = torch.autograd.grad(estimate, logits)
    assert torch.allclose(found, exact, atol=1e-12) == right
    if name == "k1":
        assert found.abs().max() < 1e-12


def test_worked_numbers_and_the_clamp():
    policy, reference = torch.tensor([-1.0, -20.0]), torch.tensor([-1.5, -1.0])
    assert estimate_kl("k1", policy, reference).tolist() == [0.5, -19.0]
    assert estimate_kl("k2", policy, reference).tolist() == [0.125, 180.5]
    k3 = estimate_kl("k3", policy, reference, clamp=10).tolist()
    assert k3 == pytest.approx([math.exp(-0.5) - 0.5, math.exp(10) - 11])
