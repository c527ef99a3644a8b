"""Losses against worked numbers and against a naive loop over tokens."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from mmrl.loss import Denominators, LossName, k3, policy_loss, token_weights

LOSSES = get_args(LossName)


def _loss(name, new, old, advantages, mask=None, reference=None, **settings):
    """The loss of rows given as lists, each row's tokens unpadded unless a mask is given."""
    new = torch.as_tensor(new, dtype=torch.float64)
    mask = torch.ones_like(new) if mask is None else torch.as_tensor(mask, dtype=torch.float64)
    denominators = settings.pop("denominators", None) or Denominators(
        completions=len(new),
        tokens=float(mask.sum()),
        batch_tokens=float(mask.sum()),
        max_length=new.shape[1],
    )
    return policy_loss(
        name,
        logprobs_BC=new,
        old_logprobs_BC=torch.as_tensor(old, dtype=torch.float64),
        reference_logprobs_BC=None
        if reference is None
        else torch.as_tensor(reference, dtype=torch.float64),
        advantages_B=torch.as_tensor(advantages, dtype=torch.float64),
        mask_BC=mask,
        denominators=denominators,
        **{"clip_low": 0.2, "clip_high": 0.28, **settings},
    )


def _naive(name, new, old, advantages, mask, reference, denominators, **settings) -> float:
    """One token at a time, from the formulas as the papers print them."""
    low, high = 1 - settings["clip_low"], 1 + settings["clip_high"]
    total = 0.0
    for row, advantage in enumerate(advantages):
        places = [place for place, kept in enumerate(mask[row]) if kept]
        if not places:
            continue
        whole = sum(new[row][place] - old[row][place] for place in places) / len(places)
        for place in places:
            log_ratio = whole if name == "gspo" else new[row][place] - old[row][place]
            ratio = math.exp(log_ratio)
            if name == "cispo":
                gain = min(ratio, high) * advantage * new[row][place]
            else:
                gain = min(ratio * advantage, min(max(ratio, low), high) * advantage)
            if reference is not None:
                apart = reference[row][place] - new[row][place]
                kl = math.exp(apart) - apart - 1
                gain -= settings["kl_weight"] * kl * (ratio if settings["kl_correction"] else 1)
            weight = {
                "grpo": 1 / len(places) / denominators.completions,
                "gspo": 1 / len(places) / denominators.completions,
                "dr_grpo": 1 / denominators.max_length / denominators.completions,
                "bnpo": 1 / denominators.tokens,
                "dapo": 1 / denominators.batch_tokens,
                "cispo": 1 / denominators.batch_tokens,
            }[name]
            total -= gain * weight
    return total


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kl", [None, False, True])
def test_a_loop_over_tokens_finds_the_same_loss(name, kl):
    generator = torch.Generator().manual_seed(0)
    mask = [[1, 1, 1, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]
    new, old, reference = (
        -torch.rand(4, 5, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    advantages = [1.0, -0.7, 2.0, -1.2]
    denominators = Denominators(completions=4, tokens=10.0, batch_tokens=17.5, max_length=9)
    settings = {
        "clip_low": 0.1,
        "clip_high": 0.3,
        "kl_weight": 0.0 if kl is None else 0.4,
        "kl_correction": bool(kl),
    }
    chosen = None if kl is None else reference.tolist()
    expected = _naive(
        name, new.tolist(), old.tolist(), advantages, mask, chosen, denominators, **settings
    )
    found = _loss(name, new, old, advantages, mask, chosen, denominators=denominators, **settings)
    assert found.loss.item() == pytest.approx(expected, rel=1e-12)
    assert found.kl_sum.item() == pytest.approx(
        0.0 if kl is None else float((k3(new, reference) * torch.tensor(mask)).sum())
    )


@pytest.mark.parametrize("name", LOSSES)
def test_what_stands_on_padding_is_not_in_the_loss(name):
    mask = [[1, 1, 0, 0], [1, 1, 1, 0]]
    new = torch.tensor([[-1.0, -2.0, -3.0, -4.0], [-0.5, -0.6, -0.7, -50.0]]).double()
    old = torch.tensor([[-1.1, -1.8, 0.0, 0.0], [-0.5, -0.9, -0.7, 0.0]]).double()
    losses = []
    for padding in (0.0, 30.0):
        padded = torch.where(torch.tensor(mask).bool(), new, padding).requires_grad_()
        found = _loss(name, padded, old, [1.0, -1.0], mask, old.tolist(), kl_weight=0.1)
        found.loss.backward()
        assert not padded.grad[torch.tensor(mask) == 0].any()
        losses.append((found.loss.item(), found.ratio_max.item(), found.clipped_sum.item()))
    assert losses[0] == losses[1]


def test_cispo_keeps_the_gradient_of_clipped_tokens():
    new = torch.tensor([[0.5], [0.1], [0.9]]).double().log().requires_grad_()
    old = torch.tensor([[0.1], [0.2], [0.9]]).double().log()
    found = _loss("cispo", new, old, [1, 1, -1], clip_high=2)
    assert found.loss.item() == pytest.approx(1.041791, rel=1e-6)
    found.loss.backward()
    assert (-3 * new.grad[:, 0]).tolist() == pytest.approx([3, 0.5, -1])
    assert found.clipped_sum.item() == 1


def test_other_losses_drop_the_gradient_of_clipped_tokens():
    new = torch.tensor([[0.5], [0.1], [0.1], [0.5]]).double().log().requires_grad_()
    old = torch.tensor([[0.1], [0.2], [0.2], [0.1]]).double().log()
    found = _loss("dapo", new, old, [1, 1, -1, -1], clip_low=0.2, clip_high=0.28)
    found.loss.backward()
    assert (-4 * new.grad[:, 0]).tolist() == pytest.approx([0, 0.5, 0, -5])
    assert found.clipped_sum.item() == 2
    assert found.loss.item() == pytest.approx(-(1.28 + 0.5 - 0.8 - 5) / 4)


@pytest.mark.parametrize(
    ("ratios", "advantage", "expected", "learns"),
    [
        ((0.5 / 0.4, 0.4 / 0.5), 1.0, 1.0, True),
        ((0.5 / 0.4, 1.0), 1.0, 1.0004, False),
        ((0.5 / 0.4, 1.0), -1.0, -1.118034, True),
    ],
)
def test_gspo_clips_whole_completions(ratios, advantage, expected, learns):
    new = torch.tensor([ratios]).double().log().requires_grad_()
    settings = {"clip_low": 3e-4, "clip_high": 4e-4}
    found = _loss("gspo", new, [[0.0, 0.0]], [advantage], **settings)
    assert -found.loss.item() == pytest.approx(expected, rel=1e-6)
    found.loss.backward()
    assert bool(new.grad.any()) == learns


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grpo", [1 / 4, 1 / 16]),
        ("gspo", [1 / 4, 1 / 16]),
        ("dapo", [1 / 10, 1 / 10]),
        ("cispo", [1 / 10, 1 / 10]),
        ("bnpo", [1 / 10, 1 / 10]),
        ("dr_grpo", [1 / 200, 1 / 200]),
    ],
)
def test_what_a_token_weighs_in_completions_of_two_and_eight(name, expected):
    mask_BC = torch.tensor([[1.0] * 2 + [0.0] * 6, [1.0] * 8])
    denominators = Denominators(completions=2, tokens=10, batch_tokens=10, max_length=100)
    weights_BC = token_weights(name, mask_BC, denominators)
    assert weights_BC[:, 0].tolist() == pytest.approx(expected)
    assert not weights_BC[0, 2:].any()


def test_dr_grpo_weighs_long_completions_by_their_length():
    mask_BC = torch.tensor([[1.0] * 10 + [0.0] * 90, [1.0] * 100])
    denominators = Denominators(completions=1, tokens=110, batch_tokens=110, max_length=100)
    sums = {
        name: token_weights(name, mask_BC, denominators).sum(-1) for name in ("dr_grpo", "grpo")
    }
    assert sums["dr_grpo"].tolist() == pytest.approx([0.1, 1.0])
    assert sums["grpo"].tolist() == pytest.approx([1.0, 1.0])


def test_k3_is_never_negative_and_estimates_the_divergence():
    generator = torch.Generator().manual_seed(0)
    policy, reference = torch.randn(2, 50, generator=generator).double().log_softmax(-1)
    estimates = k3(policy, reference)
    assert (estimates >= 0).all()
    assert k3(policy, policy).abs().max() == 0
    exact = (policy.exp() * (policy - reference)).sum().item()
    assert (policy.exp() * estimates).sum().item() == pytest.approx(exact)


def test_the_correction_makes_the_gradient_that_of_the_divergence():
    """Summed over the sampling distribution, ratio * k3 has the exact divergence's gradient."""
    generator = torch.Generator().manual_seed(1)
    logits, old, reference = torch.randn(3, 20, generator=generator).double()
    logits.requires_grad_()
    old, reference = old.log_softmax(-1), reference.log_softmax(-1)
    policy = logits.log_softmax(-1)
    [exact] = torch.autograd.grad((policy.exp() * (policy - reference)).sum(), logits)
    policy = logits.log_softmax(-1)
    weights = old.exp()[:, None]
    gradients = {}
    for corrected in (True, False):
        total = torch.zeros(())
        for place in range(20):
            found = _loss(
                "dapo",
                policy[place].reshape(1, 1),
                old[place].reshape(1, 1),
                [0.0],
                None,
                reference[place].reshape(1, 1),
                kl_weight=1.0,
                kl_correction=corrected,
            )
            total = total + weights[place, 0] * found.loss
        [gradients[corrected]] = torch.autograd.grad(total, logits, retain_graph=True)
    torch.testing.assert_close(gradients[True], exact)
    assert (gradients[False] - exact).abs().max() > 0.01
