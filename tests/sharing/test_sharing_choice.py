"""`auto` takes the widest sharing that agrees, and says why it did not take a wider one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import mmrl.sharing.attention as attention
from mmrl.batch import collate
from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.engines.hf import sample
from mmrl.errors import ConfigError
from mmrl.model import load_policy, save_policy
from mmrl.policy import completion_logprobs
from mmrl.prompt import Prompts
from mmrl.sharing.choose import choose_sharing

TEXT, IMAGE = ("how many?",), ("image:a.png", "what colour is it?")


def _config(**keys) -> ModelConfig:
    return ModelConfig.model_validate(
        {"family": "qwen2_5_vl", "tiny": "qwen2_5_vl", "device": "cpu", **keys}
    )


def _prompts(policy, ask):
    prompts = Prompts(policy=policy, media=MediaConfig())
    return [prompts(ask(*parts, row_id=f"r{n}")) for n, parts in enumerate((TEXT, IMAGE))]


@pytest.fixture(scope="module")
def policy():
    return load_policy(_config(), seed=0)


def test_a_causal_model_is_packed(policy, ask):
    choice = choose_sharing(policy, _config(), _prompts(policy, ask))
    assert (choice.sharing, choice.refused) == ("packed", ())


def test_trying_leaves_the_model_as_it_was(policy, ask):
    prompts = _prompts(policy, ask)
    before = policy.model.get_decoder().config._attn_implementation
    completions = [(35, 36, 37), (38, 39)]
    batch = collate(prompts, completions, sharing="none", pad_id=policy.pad_id)
    expected, _ = completion_logprobs(policy, batch)
    choose_sharing(policy, _config(), prompts)
    assert policy.model.get_decoder().config._attn_implementation == before
    found, _ = completion_logprobs(policy, batch)
    assert torch.equal(found, expected)


def test_pictures_that_see_themselves_from_both_ends_share_nothing(bidirectional_policy, ask):
    """Which tokens see each other is settled before the decoder's door."""
    policy = bidirectional_policy
    choice = choose_sharing(policy, _config(), _prompts(policy, ask))
    assert choice.sharing == "none"
    assert "bidirectional_media" in choice.refused[0]
    assert "a log-prob differs by" in choice.refused[1]


def test_a_model_that_carries_a_state_shares_its_encoder(recurrent_policy, ask):
    policy = recurrent_policy
    choice = choose_sharing(policy, _config(), _prompts(policy, ask))
    assert choice.sharing == "encoder"
    assert "recurrent" in choice.refused[0]


@pytest.mark.parametrize(
    ("kind", "widest"), [("bidirectional_policy", "none"), ("recurrent_policy", "encoder")]
)
def test_what_no_family_file_says_is_found_by_the_numbers(kind, widest, ask, request):
    """A family that claims to be causal and is not is caught, too."""
    honest = request.getfixturevalue(kind)
    family = dataclasses.replace(honest.family, attention="causal")
    choice = choose_sharing(
        dataclasses.replace(honest, family=family), _config(), _prompts(honest, ask)
    )
    assert choice.sharing == widest
    assert choice.refused[0].startswith("packed: ")


def test_a_packed_attention_that_is_wrong_is_found_out(policy, ask, monkeypatch):
    """A mask that lets completions see their siblings."""
    monkeypatch.setattr(
        attention,
        "attend_completions",
        lambda query, prompt, own, lengths, scale: torch.nn.functional.scaled_dot_product_attention(
            query, *(part.repeat_interleave(2, dim=1) for part in own), scale=scale
        ),
    )
    choice = choose_sharing(policy, _config(), _prompts(policy, ask))
    assert choice.sharing == "encoder"
    assert "a log-prob differs by" in choice.refused[0]
    with pytest.raises(ConfigError, match=r"model\.sharing: packed: .*use model\.sharing=auto"):
        choose_sharing(policy, _config(sharing="packed"), _prompts(policy, ask))


def test_another_attention_is_not_packed_and_the_reason_names_the_key(policy, ask):
    config = _config(attention="eager")
    choice = choose_sharing(policy, config, _prompts(policy, ask))
    assert choice.sharing == "encoder"
    assert "model.attention=sdpa" in choice.refused[0]


def test_a_window_that_does_not_hold_the_prompt_is_not_packed(policy, ask):
    layers = [m for m in policy.model.modules() if hasattr(m, "sliding_window")]
    try:
        for layer in layers:
            layer.sliding_window = 8
        choice = choose_sharing(policy, _config(), _prompts(policy, ask))
    finally:
        for layer in layers:
            layer.sliding_window = None
    assert layers
    assert choice.sharing == "encoder"
    assert "sliding window" in choice.refused[0]


@pytest.mark.parametrize("sharing", ["none", "encoder"])
def test_what_is_asked_for_is_taken(policy, ask, sharing):
    choice = choose_sharing(policy, _config(sharing=sharing), _prompts(policy, ask))
    assert choice.sharing == sharing


def test_under_bfloat16_packed_and_plain_agree_as_bfloat16_can(policy, ask):
    low = dataclasses.replace(policy, dtype=torch.bfloat16)
    prompts_B = [prompt for prompt in _prompts(policy, ask) for _ in range(3)]
    completions = [(35, 36, 37), (38,), (39, 40), (41, 42), (43,), (44, 45, 46)]
    found = {}
    with attention.packed_layers(policy.model):
        for sharing in ("none", "packed", "encoder"):
            batch = collate(prompts_B, completions, sharing=sharing, pad_id=policy.pad_id)
            policy.model.zero_grad()
            logprobs_BC, _ = completion_logprobs(low, batch)
            logprobs_BC.sum().backward()
            gradient = torch.cat(
                [p.grad.flatten() for p in policy.model.parameters() if p.grad is not None]
            )
            found[sharing] = logprobs_BC.detach(), gradient
    for sharing in ("packed", "encoder"):
        torch.testing.assert_close(found[sharing][0], found["none"][0], atol=0.03, rtol=0.01)
        gap = (found[sharing][1] - found["none"][1]).norm() / found["none"][1].norm()
        assert gap < 0.02


def test_a_packed_policy_samples_as_before_and_is_saved_as_any_other(policy, ask, tmp_path):
    from mmrl.config.schema import RolloutConfig

    prompts = _prompts(policy, ask)
    config = RolloutConfig(max_new_tokens=5)
    expected = sample(policy, prompts, config, group_size=2, seed=3)
    with attention.packed_layers(policy.model):
        assert sample(policy, prompts, config, group_size=2, seed=3) == expected
        save_policy(policy, tmp_path)
    assert "mmrl_packed" not in (tmp_path / "config.json").read_text()
    loaded = load_policy(_config(tiny=None, path=str(tmp_path)), seed=0)
    assert sample(loaded, prompts, config, group_size=2, seed=3) == expected
