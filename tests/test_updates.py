"""Gradients do not depend on micro-batches, on the order of rows or on padding."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
import torch

from mmrl.config.schema import AlgoConfig, MediaConfig, ModelConfig
from mmrl.loss import LossName
from mmrl.model import load_policy, save_policy
from mmrl.policy import completion_scores
from mmrl.prompt import Prompts
from mmrl.sharing.attention import use_packed_attention
from mmrl.types import Completion, Rollout, Verdict
from mmrl.update import Scoring, backward, mean_metrics, minibatches, update_from_responses

LOSSES = get_args(LossName)
QUESTIONS = (
    ("how many?",),
    ("image:a.png", "what colour is it?"),
    ("video:a.mp4", "what moves?"),
    ("audio:a.wav", "then", "audio:b.wav", "which?"),
)
LENGTHS_PG = ((4, 1), (7, 7), (2, 7), (5, 3))
G, MAX_LENGTH = 2, 7


def _scoring(sharing, micro_tokens: int) -> Scoring:
    return Scoring(
        temperature=1.0, max_length=MAX_LENGTH, micro_tokens=micro_tokens, sharing=sharing
    )


WHOLE = _scoring("none", 100_000)
ALONE = _scoring("none", 1)
SPLIT = _scoring("none", 150)
PACKED = _scoring("packed", 100_000)
PACKED_SPLIT = _scoring("packed", 60)


@pytest.fixture(scope="module")
def policy():
    config = ModelConfig(family="qwen2_5_omni", tiny="qwen2_5_omni", device="cpu")
    policy = load_policy(config, seed=0)
    use_packed_attention(policy.model)
    return policy


@pytest.fixture(scope="module")
def reference():
    config = ModelConfig(family="qwen2_5_omni", tiny="qwen2_5_omni", device="cpu")
    reference = load_policy(config, seed=1)
    use_packed_attention(reference.model)
    return reference


@pytest.fixture(scope="module")
def prompts_P(policy, ask):
    prompts = Prompts(policy=policy, media=MediaConfig(video_fps=4))
    return [prompts(ask(*parts, row_id=f"r{n}")) for n, parts in enumerate(QUESTIONS)]


@pytest.fixture
def rollouts_PG(prompts_P):
    generator = torch.Generator().manual_seed(0)
    return [
        [_rollout(prompt, length, generator) for length in lengths_G]
        for prompt, lengths_G in zip(prompts_P, LENGTHS_PG, strict=True)
    ]


def _rollout(prompt, length: int, generator: torch.Generator) -> Rollout:
    ids = torch.randint(20, 300, (length,), generator=generator).tolist()
    stop = "length" if length == MAX_LENGTH else "eos"
    completion = Completion(ids=tuple(ids), logprobs=(0.0,) * length, text="", stop=stop)
    advantage = torch.randn((), generator=generator).item()
    verdict = Verdict(score=0.0)
    return Rollout(prompt=prompt, completion=completion, verdict=verdict, advantage=advantage)


class _Keeper:
    """An optimizer that keeps the gradients and leaves the weights."""

    def __init__(self, policy) -> None:
        self.gradients: list[torch.Tensor] = []
        self._policy = policy

    def step(self, step: int) -> dict[str, float]:
        parameters = list(self._policy.model.parameters())
        pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        self.gradients.append(torch.cat([piece.flatten() for piece in pieces]).clone())
        self._policy.model.zero_grad()
        return {}


def update_from_rollouts(policy, reference, optimizer, rollouts_PG, algo, scoring):
    """The optimizer steps of a training step, as the trainer makes them."""
    steps = minibatches(policy, reference, rollouts_PG, algo, scoring)
    return mean_metrics(
        [backward(policy, minibatch, algo, scoring) | optimizer.step(0) for minibatch in steps]
    )


def _update(policy, rollouts_PG, scoring, reference=None, **algo):
    keeper = _Keeper(policy)
    algo = AlgoConfig(kl_weight=0.0 if reference is None else 0.3, **algo)
    metrics = update_from_rollouts(
        policy,
        reference,
        keeper,
        rollouts_PG,
        algo,
        scoring,
    )
    return metrics, keeper.gradients


def _close(found, expected) -> None:
    for metrics, other in zip(found[0].items(), expected[0].items(), strict=True):
        assert metrics[0] == other[0]
        assert metrics[1] == pytest.approx(other[1], rel=1e-5, abs=1e-6), metrics[0]
    for gradient, other in zip(found[1], expected[1], strict=True):
        assert other.abs().max() > 1e-3
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=2e-6 * float(other.abs().max()))


@pytest.mark.parametrize(
    "settings",
    [
        *({"loss": name} for name in LOSSES),
        {"loss": "grpo", "mask_truncated": True},
        {"loss": "dapo", "mask_truncated": True},
        {"loss": "dapo", "high_entropy_share": 0.4, "entropy_weight": 0.1},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_micro_batches_change_neither_loss_nor_gradient(policy, reference, rollouts_PG, settings):
    settings = {**settings, "minibatches": 2}
    whole = _update(policy, rollouts_PG, WHOLE, reference, **settings)
    for scoring in (ALONE, SPLIT, PACKED, PACKED_SPLIT):
        _close(_update(policy, rollouts_PG, scoring, reference, **settings), whole)


def test_the_order_of_rows_changes_neither_loss_nor_gradient(policy, rollouts_PG):
    expected = _update(policy, rollouts_PG, WHOLE, loss="grpo")
    turned = [rollouts_G[::-1] for rollouts_G in rollouts_PG[::-1]]
    _close(_update(policy, turned, SPLIT, loss="grpo"), expected)


def test_rows_of_other_lengths_beside_it_change_nothing_for_a_row(policy, rollouts_PG):
    """Each rollout alone, unpadded, adds up to what all of them give together."""
    together, [gradient] = _update(policy, rollouts_PG, WHOLE, loss="dr_grpo")
    losses, gradients = [], []
    for rollouts_G in rollouts_PG:
        for rollout in rollouts_G:
            metrics, [alone] = _update(policy, [[rollout]], WHOLE, loss="dr_grpo")
            losses.append(metrics["policy/loss"])
            gradients.append(alone)
    count = len(losses)
    assert together["policy/loss"] == pytest.approx(sum(losses) / count, rel=1e-5, abs=1e-6)
    scale = float(gradient.abs().max())
    torch.testing.assert_close(gradient, sum(gradients) / count, rtol=1e-4, atol=2e-6 * scale)


def test_completions_that_were_cut_carry_no_loss(policy, rollouts_PG):
    """It is as if they had not been sampled: DAPO counts the tokens of the others only."""
    found = _update(policy, rollouts_PG, WHOLE, loss="dapo", mask_truncated=True)
    whole = [
        rollout
        for rollouts_G in rollouts_PG
        for rollout in rollouts_G
        if rollout.completion.stop == "eos"
    ]
    assert len(whole) == 5
    expected = _update(policy, [whole], WHOLE, loss="dapo")
    assert found[0]["policy/loss"] == pytest.approx(expected[0]["policy/loss"], rel=1e-5)
    scale = float(expected[1][0].abs().max())
    torch.testing.assert_close(found[1][0], expected[1][0], rtol=1e-4, atol=2e-6 * scale)


def test_a_batch_of_cut_completions_teaches_nothing_and_breaks_nothing(policy, rollouts_PG):
    for rollout in (rollouts_PG[0][0], rollouts_PG[1][1]):
        rollout.completion = dataclasses.replace(rollout.completion, stop="length")
    for name in LOSSES:
        chosen = [[rollouts_PG[0][0], rollouts_PG[1][1]]]
        metrics, [gradient] = _update(policy, chosen, WHOLE, loss=name, mask_truncated=True)
        assert metrics["policy/loss"] == 0
        assert not gradient.any()


@pytest.mark.parametrize("name", LOSSES)
def test_rollouts_of_no_advantage_have_no_gradient(policy, rollouts_PG, name):
    for rollouts_G in rollouts_PG:
        for rollout in rollouts_G:
            rollout.advantage = 0.0
    _, [gradient] = _update(policy, rollouts_PG, SPLIT, loss=name)
    assert not gradient.any()


def test_on_policy_all_minibatches_of_one_epoch_see_the_same_old_policy(policy, rollouts_PG):
    """Weights that do not move between optimizer steps keep every ratio at 1."""
    metrics, gradients = _update(policy, rollouts_PG, SPLIT, loss="dapo", minibatches=4, epochs=2)
    assert len(gradients) == 8
    assert metrics["policy/ratio_max"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["policy/clip_frac"] == 0
    for first, again in zip(gradients[:4], gradients[4:], strict=True):
        torch.testing.assert_close(first, again, rtol=1e-4, atol=1e-6)


def test_cold_start_micro_batches_change_neither_loss_nor_gradient(policy, prompts_P, rollouts_PG):
    responses_B = [rollouts_G[0].completion.ids for rollouts_G in rollouts_PG]
    found = []
    for scoring in (WHOLE, ALONE, SPLIT, PACKED, PACKED_SPLIT):
        keeper = _Keeper(policy)
        metrics = update_from_responses(policy, keeper, prompts_P, responses_B, scoring, step=0)
        found.append((metrics, keeper.gradients))
    for other in found[1:]:
        _close(other, found[0])


def test_the_cold_start_loss_is_the_mean_cross_entropy_of_response_tokens(
    policy, prompts_P, rollouts_PG
):
    """As the model's own forward pass over prompt and response has it."""
    prompt, response = prompts_P[1], rollouts_PG[1][0].completion.ids
    keeper = _Keeper(policy)
    metrics = update_from_responses(policy, keeper, [prompt], [response], WHOLE, step=0)
    ids = torch.tensor([[*prompt.ids, *response]])
    with torch.no_grad():
        logits = policy.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), **prompt.media
        ).logits[0, len(prompt.ids) - 1 : -1]
    logits[:, list(policy.banned_ids)] = float("-inf")
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(response)).item()
    assert metrics["policy/loss"] == pytest.approx(expected, rel=1e-5)


def test_activation_checkpointing_changes_memory_and_nothing_else(
    policy, rollouts_PG, tmp_path, monkeypatch
):
    """Also for weights from a folder, which are loaded in the mode of inference."""
    save_policy(policy, tmp_path)
    config = ModelConfig(
        family="qwen2_5_omni", path=str(tmp_path), device="cpu", gradient_checkpointing=True
    )
    saving = load_policy(config, seed=0)
    calls = []
    layers = [m for m in saving.model.modules() if hasattr(m, "_gradient_checkpointing_func")]
    for layer in layers:
        counted = layer._gradient_checkpointing_func
        monkeypatch.setattr(
            layer,
            "_gradient_checkpointing_func",
            lambda *arguments, counted=counted: calls.append(1) or counted(*arguments),
        )
    expected = _update(policy, rollouts_PG, WHOLE, loss="grpo")
    use_packed_attention(saving.model)
    for scoring in (WHOLE, PACKED):
        calls.clear()
        _close(_update(saving, rollouts_PG, scoring, loss="grpo"), expected)
        assert calls


def test_a_group_that_agrees_is_not_run_through_the_model(policy, rollouts_PG, monkeypatch):
    """Its share in the gradient is zero, so the gradient without it is the same."""
    agreed = [
        [dataclasses.replace(rollout, advantage=0.0) for rollout in rollouts_G]
        if place == 0
        else list(rollouts_G)
        for place, rollouts_G in enumerate(rollouts_PG)
    ]
    _, skipped = _update(policy, agreed, WHOLE, loss="dapo")
    with monkeypatch.context() as patch:
        patch.setattr("mmrl.update._teaches", lambda rollout, algo: True)
        _, plain = _update(policy, agreed, WHOLE, loss="dapo")
    torch.testing.assert_close(skipped[0], plain[0], rtol=1e-5, atol=1e-7)
    seen = []
    monkeypatch.setattr(
        "mmrl.update.completion_scores",
        lambda policy, batch, **options: (
            seen.append(len(batch.ids_NT)) or completion_scores(policy, batch, **options)
        ),
    )
    _update(policy, agreed, WHOLE, loss="dapo")
    assert sum(seen) == sum(len(rollouts_G) for rollouts_G in agreed[1:])


def test_when_all_groups_agree_the_weights_stay_and_the_metrics_say_so(policy, rollouts_PG):
    agreed = [[dataclasses.replace(r, advantage=0.0) for r in group] for group in rollouts_PG]
    metrics, gradients = _update(policy, agreed, WHOLE, loss="dapo")
    assert metrics == {"policy/loss": 0.0, "policy/taught_tokens": 0.0}
    assert not gradients[0].any()
