"""What bounds the memory of a pass changes no number: token budgets, and logits in parts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import mmrl.policy
from mmrl.batch import collate, micro_batches_of_tokens
from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.model import load_policy
from mmrl.policy import completion_scores
from mmrl.prompt import Prompts


def _prompt(length: int) -> SimpleNamespace:
    return SimpleNamespace(ids=range(length))


def _parts(rows, sharing: str, most: int) -> list[list[int]]:
    prompts = [prompt for prompt, _ in rows]
    completions = [range(length) for _, length in rows]
    return [
        list(part)
        for part in micro_batches_of_tokens(prompts, completions, sharing=sharing, most=most)
    ]


def test_a_packed_prompt_counts_once_and_a_repeated_one_every_time():
    a, b = _prompt(10), _prompt(20)
    rows = [(a, 2), (a, 3), (a, 4), (b, 5)]
    assert _parts(rows, "packed", 19) == [[0, 1, 2], [3]]
    assert _parts(rows, "packed", 44) == [[0, 1, 2, 3]]
    assert _parts(rows, "packed", 43) == [[0, 1, 2], [3]]
    # padded to the longest: 3 rows of 14, 4 rows of 25
    assert _parts(rows, "none", 99) == [[0, 1, 2], [3]]
    assert _parts(rows, "none", 100) == [[0, 1, 2, 3]]


def test_a_group_that_does_not_fit_is_split_and_a_row_that_does_not_fit_stands_alone():
    a = _prompt(10)
    assert _parts([(a, 5), (a, 5), (a, 5)], "packed", 20) == [[0, 1], [2]]
    assert _parts([(a, 5), (a, 90), (a, 5)], "packed", 20) == [[0], [1], [2]]
    assert _parts([], "packed", 20) == []


def test_no_row_is_lost_or_repeated_for_any_budget():
    generator = torch.Generator().manual_seed(0)
    for sharing in ("packed", "encoder", "none"):
        prompts = [_prompt(length) for length in (3, 9, 1, 14)]
        draws = torch.randint(0, 8, (4, 5), generator=generator).tolist()
        rows = [(p, n) for p, lengths in zip(prompts, draws, strict=True) for n in lengths]
        for most in range(1, 200, 7):
            parts = _parts(rows, sharing, most)
            assert [place for part in parts for place in part] == list(range(len(rows)))
            assert all(parts)


@pytest.mark.parametrize("entropy_learns", [False, True])
def test_logits_in_parts_are_logits_at_once(ask, monkeypatch, entropy_learns):
    config = ModelConfig(family="qwen2_5_vl", tiny="qwen2_5_vl", device="cpu")
    policy = load_policy(config, seed=0)
    prompt = Prompts(policy=policy, media=MediaConfig())(ask("image:a.png", "?"))
    batch = collate([prompt] * 3, [(35, 36), (37,), (38, 39, 40, 41)], sharing="none", pad_id=0)
    found = []
    for at_once in (2**26, 2 * policy.vocabulary, 1):
        monkeypatch.setattr(mmrl.policy, "LOGITS_AT_ONCE", at_once)
        policy.model.zero_grad()
        scores = completion_scores(
            policy, batch, entropy_learns=entropy_learns, vocabulary_mean=True
        )
        bonus = 0.3 * scores.entropy_BC.sum() if entropy_learns else 0
        (scores.logprobs_BC.sum() + bonus).backward()
        gradient = torch.cat([p.grad.flatten() for p in policy.model.parameters()])
        parts = (scores.logprobs_BC, scores.entropy_BC, scores.vocabulary_mean_BC)
        found.append((*(part.detach() for part in parts), gradient))
    for other in found[1:]:
        for ours, whole in zip(other, found[0], strict=True):
            torch.testing.assert_close(ours, whole, atol=1e-5, rtol=1e-4)
