"""What is compared is computed in float32, and the weights stay what they were."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.model import load_policy
from mmrl.prompt import Prompts
from mmrl.sharing.exact import exactly

FAMILIES = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen2_5_omni", "smolvlm", "llava_onevision"]


def _policy(family: str, **keys):
    given = {"family": family, "tiny": family, "device": "cpu", "dtype": "bfloat16"}
    return load_policy(ModelConfig.model_validate(given | {"lora": {"rank": 2}} | keys), seed=0)


def _prompt(policy, ask):
    return Prompts(policy=policy, media=MediaConfig())(ask("image:a.png", "what colour is it?"))


@torch.no_grad()
def _logits(policy, prompt):
    positions_R1T = prompt.positions_RT[:, None]
    return policy(
        input_ids=torch.tensor([prompt.ids]),
        attention_mask=torch.ones((1, len(prompt.ids))),
        position_ids=positions_R1T if len(positions_R1T) > 1 else positions_R1T[0],
        use_cache=False,
        **prompt.media,
    ).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_in_bfloat16_answer_as_their_copies_in_float32(family, ask):
    policy = _policy(family)
    prompt = _prompt(policy, ask)
    wide = dataclasses.replace(
        policy, model=copy.deepcopy(policy.model).float().eval(), dtype=torch.float32
    )
    expected = _logits(wide, prompt)
    with exactly(policy) as exact:
        found = _logits(exact, prompt)
        assert not policy.model.training
    assert found.dtype == torch.float32
    # pictures alone are rounded on their way in
    gap = (found - expected).abs().max()
    assert gap < 0.5 * (_logits(policy, prompt).float() - expected).abs().max()
    policy.model.eval()
    assert policy.dtype == torch.bfloat16


def test_a_pass_that_is_left_early_leaves_the_weights_as_they_were(ask):
    policy = _policy("qwen2_5_vl")
    prompt = _prompt(policy, ask)
    before = {name: (id(p), p.dtype) for name, p in policy.model.named_parameters()}

    def leave(*_):
        raise KeyError("the door")

    handle = policy.model.get_decoder().layers[0].mlp.act_fn.register_forward_pre_hook(leave)
    with pytest.raises(KeyError, match="the door"), exactly(policy) as exact:
        _logits(exact, prompt)
    handle.remove()
    assert {name: (id(p), p.dtype) for name, p in policy.model.named_parameters()} == before
    assert policy.model.training
    assert not any(m._forward_pre_hooks for m in policy.model.modules())


def test_a_policy_in_float32_stays_as_it_is(ask):
    policy = _policy("qwen2_5_vl", dtype="float32")
    prompt = _prompt(policy, ask)
    policy.model.eval()
    with exactly(policy) as exact:
        assert torch.equal(_logits(exact, prompt), _logits(policy, prompt))
