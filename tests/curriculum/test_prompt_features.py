"""What samplers ask of the policy, against the model's own outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.curriculum.features import angle_signals, value_features
from mmrl.model import Policy, load_policy
from mmrl.prompt import Prompts

FAMILY = "qwen2_5_vl"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(ModelConfig(family=FAMILY, tiny=FAMILY, device="cpu"), seed=0)


@pytest.fixture(scope="module")
def prompts(policy) -> Prompts:
    return Prompts(policy=policy, media=MediaConfig())


@pytest.fixture(scope="module")
def asked(ask):
    return [
        ask("image:a.png", "what is it?", row_id="a"),
        ask("and without?", row_id="b"),
    ]


def outputs(policy, prompt):
    """The model's hidden states, of all layers, for one prompt."""
    with torch.no_grad():
        return policy.model(
            input_ids=torch.tensor([prompt.ids]),
            position_ids=prompt.positions_RT[:, None],
            output_hidden_states=True,
            **prompt.media,
        ).hidden_states


def test_a_prompts_features_are_the_state_that_predicts_its_first_token(policy, prompts, asked):
    found = value_features(prompts.policy, prompts, asked, [1, 0])
    for features, row in zip(found, (asked[1], asked[0]), strict=True):
        state_D = outputs(policy, prompts(row))[-1][0, -1]
        assert np.linalg.norm(features) == pytest.approx(1, abs=1e-5)
        assert features == pytest.approx((state_D / state_D.norm()).tolist(), abs=1e-4)


def test_a_prompts_angles_are_those_of_the_states_before_the_last_mlp(policy, prompts, asked):
    layer = policy.model.model.language_model.layers[-1]
    seen = []
    handle = layer.mlp.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    outputs(policy, prompts(asked[0]))
    handle.remove()
    states_TD = torch.nn.functional.normalize(seen[0][0].double(), dim=-1)
    expected = (states_TD @ states_TD.T).mean().item()
    (found,) = angle_signals(prompts.policy, prompts, asked, [0])
    assert found == pytest.approx(expected, abs=1e-5)


def test_asking_leaves_no_gradient_and_no_hook(policy, prompts, asked):
    value_features(prompts.policy, prompts, asked, [0])
    angle_signals(prompts.policy, prompts, asked, [0])
    assert all(parameter.grad is None for parameter in policy.model.parameters())
    assert not any(module._forward_pre_hooks for module in policy.model.modules())
