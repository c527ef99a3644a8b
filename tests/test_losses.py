"""Losses against worked numbers and against a naive loop over tokens."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from mmrl.loss import Denominators, LossConstants, LossName, policy_loss, token_weights
from mmrl.objectives.divergence import estimate_kl

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
    if name == "rover":
        settings.setdefault("mean_log_ratio_BC", torch.zeros_like(new))
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
    total = 0.0
    for row, advantage in enumerate(advantages):
        places = [place for place, kept in enumerate(mask[row]) if kept]
        if not places:
            continue
        logs = {place: new[row][place] - old[row][place] for place in places}
        for place in places:
            gain = _gain(name, logs, place, advantage, new[row][place], settings)
            if reference is not None:
                apart = reference[row][place] - new[row][place]
                kl = math.exp(apart) - apart - 1
                whole = name in ("gspo", "luspo")
                ratio = math.exp(sum(logs.values()) / len(logs) if whole else logs[place])
                gain -= settings["kl_weight"] * kl * (ratio if settings["kl_correction"] else 1)
            total -= gain * _weight(name, len(places), denominators)
    return total


def _gain(name, logs, place, advantage, new, settings) -> float:
    low, high = 1 - settings["clip_low"], 1 + settings["clip_high"]
    ratio = math.exp(logs[place])
    if name == "cispo":
        return min(ratio, high) * advantage * new
    if name == "sapo":
        tau = 1.0 if advantage > 0 else 1.05
        return 4 / tau / (1 + math.exp(-tau * (ratio - 1))) * advantage
    if name == "gmpo":
        product = 1.0
        for log in logs.values():
            kept = min(log, settings["clip_high"]) if advantage > 0 else log
            kept = max(log, -settings["clip_low"]) if advantage <= 0 else kept
            product *= math.exp(kept)
        return product ** (1 / len(logs)) * advantage
    if name == "vespo":
        whole = math.exp(sum(logs.values()))
        power, decay = (2, 3) if advantage >= 0 else (3, 2)
        return math.exp(decay * (1 - whole)) * whole**power * advantage * new
    if name == "rover":
        later = settings["means"].get(place + 1, 0.0) if place + 1 in logs else 0.0
        return -((logs[place] - advantage - later) ** 2)
    if name in ("gspo", "luspo"):
        ratio = math.exp(sum(logs.values()) / len(logs))
    return min(ratio * advantage, min(max(ratio, low), high) * advantage)


def _weight(name, length, denominators) -> float:
    per_token = {
        "dr_grpo": denominators.max_length * denominators.completions,
        "luspo": denominators.completions,
        "bnpo": denominators.tokens,
    }
    if name in ("grpo", "gspo", "sapo", "gmpo"):
        return 1 / length / denominators.completions
    return 1 / per_token.get(name, denominators.batch_tokens)


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
    means = {place: 0.3 - 0.1 * place for place in range(5)}
    lists = (new.tolist(), old.tolist(), advantages, mask, chosen, denominators)
    expected = _naive(name, *lists, means=means, **settings)
    if name == "rover":
        settings["mean_log_ratio_BC"] = torch.tensor(
            [list(means.values())] * 4, dtype=torch.float64
        )
    found = _loss(name, new, old, advantages, mask, chosen, denominators=denominators, **settings)
    assert found.loss.item() == pytest.approx(expected, rel=1e-12)
    assert found.kl_sum.item() == pytest.approx(
        0.0 if kl is None else float((estimate_kl("k3", new, reference) * torch.tensor(mask)).sum())
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
        ("sapo", [1 / 4, 1 / 16]),
        ("gmpo", [1 / 4, 1 / 16]),
        ("luspo", [1 / 2, 1 / 2]),
        ("vespo", [1 / 10, 1 / 10]),
        ("rover", [1 / 10, 1 / 10]),
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


def test_two_sided_clipping_bounds_what_a_wrong_answer_can_weigh():
    new = torch.tensor([[0.9], [0.9]]).double().log().requires_grad_()
    old = torch.tensor([[0.01], [0.01]]).double().log()
    free = _loss("dapo", new, old, [-1, 1])
    assert free.loss.item() == pytest.approx((90 - 1.28) / 2)
    capped = _loss("dapo", new, old, [-1, 1], constants=LossConstants(ratio_cap=10))
    assert capped.loss.item() == pytest.approx((10 - 1.28) / 2)
    assert (free.clipped_sum.item(), capped.clipped_sum.item()) == (1, 2)
    capped.loss.backward()
    assert not new.grad.any()


def test_ratios_are_bounded_before_they_are_exponentiated():
    """StableReinforce's Pre-CLIP: the first ratio, e^9.9, would fill the loss."""
    new, old = [[-0.1]] * 4, [[-10.0], [-0.2], [-0.2], [-5.0]]
    advantages = [-1, -1, 0.5, -0.5]
    found = {
        bound: [
            -_loss("dapo", [n], [o], [a], constants=LossConstants(ratio_bound=bound)).loss.item()
            for n, o, a in zip(new, old, advantages, strict=True)
        ]
        for bound in (None, 1000.0)
    }
    plain = [-19930.37, -1.10517, 0.55259, -67.14489]
    assert found[None] == pytest.approx(plain, rel=1e-5)
    assert found[1000.0] == pytest.approx([-1000, *plain[1:]], rel=1e-5)
    far = _loss("dapo", [[0.0]], [[-800.0]], [-1.0], constants=LossConstants(ratio_bound=1000.0))
    assert far.loss.item() == pytest.approx(1000)


def test_tokens_that_were_not_chosen_leave_the_policy_term_and_keep_the_rest():
    """The weights still count them, and the KL term still acts on them."""
    new, old = [[-1.0, -2.0, -0.5]], [[-1.1, -1.5, -0.5]]
    chosen = torch.tensor([[1.0, 0.0, 1.0]])
    kept = _loss("dapo", new, old, [1.0], chosen_BC=chosen).loss.item()
    assert kept == pytest.approx(-(math.exp(0.1) + 1) / 3)
    reference = [[-1.0, -1.0, -0.5]]
    with_kl = _loss("dapo", new, old, [1.0], None, reference, chosen_BC=chosen, kl_weight=0.5)
    assert with_kl.loss.item() == pytest.approx(kept + 0.5 * (math.e - 2) / 3)


def test_gmpo_takes_its_mean_over_the_chosen_tokens():
    new, old = [[-1.0, -2.0, -0.5]], [[-1.1, -1.5, -0.5]]
    settings = {"clip_low": 0.4, "clip_high": 0.4}
    whole = _loss("gmpo", new, old, [1.0], **settings).loss.item()
    assert whole == pytest.approx(-math.exp((0.1 - 0.5) / 3))
    chosen = torch.tensor([[1.0, 0.0, 1.0]])
    part = _loss("gmpo", new, old, [1.0], chosen_BC=chosen, **settings).loss.item()
    assert part == pytest.approx(-math.exp(0.1 / 2))


@pytest.mark.parametrize("name", LOSSES)
def test_the_entropy_bonus_is_the_mean_per_token_whatever_the_loss_weighs(name):
    new, mask = [[-1.0, -2.0], [-0.5, -0.6]], [[1, 0], [1, 1]]
    entropy = torch.tensor([[0.3, 9.0], [0.6, 0.9]]).double().requires_grad_()
    constants = LossConstants(entropy_weight=0.1)
    plain = _loss(name, new, new, [1.0, -1.0], mask).loss.item()
    found = _loss(name, new, new, [1.0, -1.0], mask, entropy_BC=entropy, constants=constants)
    assert found.loss.item() == pytest.approx(plain - 0.1 * (0.3 + 0.6 + 0.9) / 3)
    found.loss.backward()
    torch.testing.assert_close(entropy.grad, torch.tensor(mask).double() * -0.1 / 3)


def test_the_entropy_bonus_acts_on_the_chosen_tokens():
    new, entropy = [[-1.0, -2.0]], torch.tensor([[0.3, 0.9]]).double()
    counts = Denominators(completions=1, tokens=2, batch_tokens=2, max_length=2, uncertain_tokens=1)
    found = [
        _loss(
            "bnpo",
            new,
            new,
            [0.0],
            denominators=counts,
            entropy_BC=entropy,
            chosen_BC=torch.tensor([[0.0, 1.0]]),
            constants=LossConstants(entropy_weight=weight),
        ).loss.item()
        for weight in (0.0, 0.5)
    ]
    assert found[0] - found[1] == pytest.approx(0.5 * 0.9)


def test_completions_of_another_model_have_the_shaped_term():
    """LUFFY: f(p) = p / (p + 0.1), whose slope is largest where p is small."""
    probabilities = torch.tensor([[0.01], [0.1], [0.5], [0.9]]).double().requires_grad_()
    imitated = torch.ones(4, dtype=torch.bool)
    found = _loss("dapo", probabilities.log(), [[0.0]] * 4, [1.0] * 4, imitated_B=imitated)
    assert -4 * found.loss.item() == pytest.approx(0.090909 + 0.5 + 0.833333 + 0.9, rel=1e-6)
    found.loss.backward()
    slopes = [8.264463, 2.5, 0.277778, 0.1]
    assert (-4 * probabilities.grad[:, 0]).tolist() == pytest.approx(slopes, rel=1e-6)
    assert found.clipped_sum.item() == 0


def test_imitation_leaves_the_other_completions_alone():
    new, old = [[-1.0], [-1.0]], [[-1.1], [-1.1]]
    imitated = torch.tensor([False, True])
    found = _loss("dapo", new, old, [1.0, 1.0], imitated_B=imitated).loss.item()
    p = math.exp(-1)
    assert -2 * found == pytest.approx(math.exp(0.1) + p / (p + 0.1))


def test_rover_regresses_on_the_value_of_the_uniform_policy():
    """At the old policy every value is 0, so the first target is the advantage itself."""
    new = torch.tensor([[-1.0, -2.0, -0.5]]).double().requires_grad_()
    at_old = _loss("rover", new, new.detach(), [0.5])
    assert at_old.loss.item() == pytest.approx(0.25)
    at_old.loss.backward()
    assert new.grad.tolist()[0] == pytest.approx([-2 * 0.5 / 3] * 3)
    policy = torch.tensor([0.4, 0.3, 0.2, 0.1]).double().log()
    values = policy - math.log(0.25)
    assert values.tolist() == pytest.approx([0.470004, 0.182322, -0.223144, -0.916291], rel=1e-5)
    mean = values.mean().item()
    assert mean == pytest.approx(-0.121777, rel=1e-5)
    moved = _loss(
        "rover",
        policy[None, :2],
        [[math.log(0.25)] * 2],
        [0.5],
        mean_log_ratio_BC=torch.tensor([[9.0, mean]]).double(),
    )
    expected = ((0.470004 - (0.5 - 0.121777)) ** 2 + (0.182322 - 0.5) ** 2) / 2
    assert moved.loss.item() == pytest.approx(expected, rel=1e-5)


def test_what_a_loss_needs_it_asks_for():
    tensor = torch.zeros(1, 1)
    counts = Denominators(completions=1, tokens=1, batch_tokens=1, max_length=1)
    given = {
        "logprobs_BC": tensor,
        "old_logprobs_BC": tensor,
        "reference_logprobs_BC": None,
        "advantages_B": torch.zeros(1),
        "mask_BC": tensor,
        "denominators": counts,
        "clip_low": 0.2,
        "clip_high": 0.2,
    }
    with pytest.raises(ValueError, match="mean_log_ratio_BC"):
        policy_loss("rover", **given)
    with pytest.raises(ValueError, match="entropy_BC"):
        policy_loss("dapo", **given, constants=LossConstants(entropy_weight=0.1))


def test_advantages_may_differ_from_token_to_token():
    new, old = [[-1.0, -2.0]], [[-1.1, -2.0]]
    found = _loss("dapo", new, old, [[1.0, -0.5]]).loss.item()
    assert found == pytest.approx(-(math.exp(0.1) - 0.5) / 2)


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
