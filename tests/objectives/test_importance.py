"""The weight of tokens whose sampler was not quite the policy; numbers worked by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from pydantic import ValidationError

from mmrl.config.algo import AlgoConfig
from mmrl.loss import Denominators, policy_loss
from mmrl.objectives.importance import importance_weights, sampling_gaps

GAPS = torch.log(torch.tensor([[2.0, 0.5, 8.0], [1.0, 1.0, 9.0]]))
MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    ("level", "mode", "expected"),
    [
        ("token", "truncate", [[2, 0.5, 3], [1, 1, 1]]),
        ("token", "mask", [[2, 0.5, 0], [1, 1, 1]]),
        ("sequence", "truncate", [[3], [1]]),
        ("sequence", "mask", [[0], [1]]),
    ],
)
def test_weights_are_ratios_up_to_the_cap_and_padding_has_none(level, mode, expected):
    found = importance_weights(GAPS, MASK, level=level, mode=mode, cap=3.0)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


def test_a_gap_is_scored_minus_sampled_and_none_where_nobody_sampled():
    sampled = SimpleNamespace(imitated=False, completion=SimpleNamespace(logprobs=(-1.0, -2.0)))
    written = SimpleNamespace(imitated=True, completion=SimpleNamespace(logprobs=(0.0, 0.0, 0.0)))
    before_BC = torch.tensor([[-1.5, -1.0, 0.0], [-3.0, -3.0, -3.0]])
    found = sampling_gaps(cast(Any, [sampled, written]), before_BC)
    assert found.tolist() == [[-0.5, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_the_term_is_weighed_and_the_divergence_is_not():
    """On-policy, so that every ratio is 1: the gradient of a token is -A w / tokens, and that of
    k3 at a difference d between reference and policy is (1 - e^d) / tokens."""
    logprobs = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    weights = torch.tensor([[2.0, 0.0]])
    terms = policy_loss(
        "dapo",
        logprobs_BC=logprobs,
        old_logprobs_BC=logprobs.detach(),
        reference_logprobs_BC=torch.tensor([[-1.5, -2.0]]),
        advantages_B=torch.tensor([0.5]),
        mask_BC=torch.ones(1, 2),
        denominators=Denominators(completions=1, tokens=2, batch_tokens=2, max_length=2),
        clip_low=0.2,
        clip_high=0.2,
        kl_weight=1.0,
        importance=weights,
    )
    terms.loss.backward()
    expected = [-0.5 * 2 / 2 + (1 - math.exp(-0.5)) / 2, 0.0]
    assert logprobs.grad is not None
    assert logprobs.grad[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_vespo_weighs_by_itself():
    with pytest.raises(ValidationError, match="importance does not go with loss vespo"):
        AlgoConfig.model_validate({"loss": "vespo", "importance": {}})
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        AlgoConfig.model_validate({"importance": {"cap": 0.5}})
