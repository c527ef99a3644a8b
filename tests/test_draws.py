"""What is drawn from a distribution, and how often."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmrl.batch import collate
from mmrl.config.schema import MediaConfig, ModelConfig, RolloutConfig
from mmrl.engines.hf import _draw, sample
from mmrl.model import load_policy
from mmrl.prompt import Prompts

SAMPLING = RolloutConfig(max_new_tokens=10)


@pytest.fixture(scope="module")
def omni(ask) -> SimpleNamespace:
    config = ModelConfig(family="qwen2_5_omni", tiny="qwen2_5_omni", device="cpu")
    policy = load_policy(config, seed=0)
    with torch.no_grad():
        # as initialised, the most likely token is always the last one again
        for name, parameter in policy.model.named_parameters():
            if parameter.ndim > 1 and "embed_tokens" not in name:
                parameter *= 4
    prompts = Prompts(policy=policy, media=MediaConfig())
    return SimpleNamespace(policy=policy, prompts_P=[prompts(ask("how many?"))])


def test_tokens_are_drawn_as_often_as_they_are_likely():
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.2])
    draws = 20_000
    luck_B = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws
    ids_B = _draw(probabilities.log().expand(draws, -1), SAMPLING, luck_B)
    shares = torch.bincount(ids_B, minlength=4) / draws
    torch.testing.assert_close(shares, probabilities, atol=2 / draws, rtol=0)
    edges = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert _draw(probabilities.log().expand(2, -1), SAMPLING, edges).tolist() == [0, 3]


def test_top_k_and_top_p_keep_what_they_should(omni):
    policy, prompt = omni.policy, omni.prompts_P[0]
    batch = collate([prompt], [(0,)], sharing="none", pad_id=policy.pad_id)
    with torch.no_grad():
        logits_V = policy.model(
            input_ids=batch.ids_NT[:, :-1], position_ids=batch.positions_RNT[..., :-1]
        ).logits[0, -1]
    logits_V[list(policy.banned_ids)] = float("-inf")
    probabilities = logits_V.softmax(-1)
    ranked = probabilities.argsort(descending=True).tolist()
    mass = probabilities[ranked].cumsum(0)
    nucleus = set(ranked[: int((mass < 0.05).sum()) + 1])
    assert 1 < len(nucleus) < 60
    for settings, allowed in (
        ({"top_k": 3}, set(ranked[:3])),
        ({"top_p": 0.05}, nucleus),
        ({"top_p": 1e-9}, set(ranked[:1])),
        ({"top_k": 10_000}, set(ranked)),
    ):
        config = RolloutConfig(max_new_tokens=1, **settings)
        [completions_G] = sample(policy, [prompt], config, group_size=2000, seed=3)
        drawn = Counter(completion.ids[0] for completion in completions_G)
        assert set(drawn) <= allowed, settings
        assert len(drawn) == len(allowed) or len(allowed) > 3, settings
        # log-probs stay those of the whole distribution
        first = completions_G[0]
        expected = probabilities[first.ids[0]].log().item()
        assert first.logprobs[0] == pytest.approx(expected, abs=1e-4)


def test_draws_follow_the_distribution_at_the_temperature(omni):
    policy, prompt = omni.policy, omni.prompts_P[0]
    config = RolloutConfig(max_new_tokens=1, temperature=0.5, top_k=2)
    [completions_G] = sample(policy, [prompt], config, group_size=4000, seed=5)
    drawn = Counter((c.ids[0], c.logprobs[0]) for c in completions_G)
    (first, often), (second, rare) = drawn.most_common()
    odds = np.exp(first[1] - second[1])
    assert often / rare == pytest.approx(odds, rel=0.15)
