"""No key of the objective is without effect: each changes the gradient of an off-policy step."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from mmrl.config.algo import AlgoConfig
from mmrl.config.schema import MediaConfig, ModelConfig, OptimConfig
from mmrl.model import load_policy
from mmrl.objectives.empg import modulate_advantages
from mmrl.objectives.mixed import backward_mixed, build_weight, response_ids
from mmrl.objectives.reference import reset_reference
from mmrl.prompt import Prompts
from mmrl.rollout import fill_advantages
from mmrl.trainer import move_reference
from mmrl.types import Completion, Rollout, Verdict
from mmrl.update import Optimizer, Scoring, backward, backward_responses, minibatches

SCORING = Scoring(temperature=1.0, max_length=8, micro_tokens=10_000, sharing="none")
SCORES_PG = ((1.0, 0.0, 0.4), (1.0, 1.0, 1.0), (0.6, 0.0, None))
LENGTHS_PG = ((5, 2, 8), (3, 8, 4), (1, 6, 7))
NEWLINE = 201
KL = {"kl_weight": 0.5}
CHANGES = {
    "loss": ({}, {"loss": "gspo"}),
    "advantage": ({}, {"advantage": "dr_grpo"}),
    "right": ({"advantage": "w_reinforce"}, {"right": 0.5}),
    "positive_weight": ({"advantage": "w_reinforce"}, {"positive_weight": 0.5}),
    "advantage_limit": ({}, {"advantage_limit": 1.0}),
    "empg": ({}, {"empg": {"clarity_weight": 0.1}}),
    "empg.sharpness": ({"empg": {}}, {"empg": {"sharpness": 3.0}}),
    "empg.clarity": ({"empg": {}}, {"empg": {"clarity": 3.0}}),
    "empg.clarity_weight": ({"empg": {}}, {"empg": {"clarity_weight": 1.0}}),
    "imitation": ({}, {"imitation": {"weight": 0.5}}),
    "imitation.weight": ({"imitation": {"weight": 0.5}}, {"imitation": {"weight": 0.9}}),
    "trace_shape": ({"trace_shape": 0.1}, {"trace_shape": 0.5}),
    "trace_mean": ({"trace_shape": 0.1}, {"trace_mean": "sequence"}),
    "drop_agreeing": ({}, {"drop_agreeing": True}),
    "clip_low": ({"clip_high": 0.1}, {"clip_low": 0.01}),
    "clip_high": ({"clip_high": 0.5}, {"clip_high": 0.01}),
    "ratio_cap": ({"clip_high": 0.01}, {"ratio_cap": 1.02}),
    "ratio_bound": ({}, {"ratio_bound": 1.02}),
    "sapo_temperatures": ({"loss": "sapo"}, {"sapo_temperatures": (3.0, 2.0)}),
    "entropy_weight": ({}, {"entropy_weight": 0.1}),
    "high_entropy_share": ({}, {"high_entropy_share": 0.5}),
    "kl_weight": ({}, KL),
    "kl_estimator": (KL, {"kl_estimator": "k2"}),
    "kl_clamp": (KL, {"kl_clamp": 0.01}),
    "kl_correction": (KL, {"kl_correction": True}),
    "reference_reset": (KL, {"reference_reset": {"every": 1}}),
    "importance": ({}, {"importance": {}}),
    "importance.level": (
        {"importance": {"cap": 1000}},
        {"importance": {"cap": 1000, "level": "sequence"}},
    ),
    "importance.mode": ({"importance": {"cap": 2}}, {"importance": {"cap": 2, "mode": "mask"}}),
    "importance.cap": ({"importance": {}}, {"importance": {"cap": 1.5}}),
    "mask_truncated": ({}, {"mask_truncated": True}),
    "minibatches": ({"loss": "grpo"}, {"minibatches": 3}),
    "epochs": ({}, {"epochs": 2}),
}


@pytest.fixture(scope="module")
def build(ask):
    config = ModelConfig(family="qwen2_5_vl", tiny="qwen2_5_vl", device="cpu", threads=1)

    def build(seed: int):
        return load_policy(config, seed=seed)

    return build


@pytest.fixture(scope="module")
def prompts_P(build, ask):
    prompts = Prompts(policy=build(0), media=MediaConfig())
    return [
        prompts(ask(text, row_id=text, response=f"so {text}"))
        for text in ("how many?", "which colour?", "find x")
    ]


def _rollouts(prompts_P, newline: int) -> list[list[Rollout]]:
    generator = torch.Generator().manual_seed(0)
    groups = []
    for prompt, scores_G, lengths_G in zip(prompts_P, SCORES_PG, LENGTHS_PG, strict=True):
        groups.append([])
        for score, length in zip(scores_G, lengths_G, strict=True):
            ids = torch.randint(20, 300, (length,), generator=generator).tolist()
            ids[length // 2] = newline
            groups[-1].append(
                Rollout(
                    prompt=prompt,
                    completion=Completion(
                        ids=tuple(ids),
                        logprobs=(-8.0,) * length,
                        text="",
                        stop="length" if length == 8 else "eos",
                    ),
                    verdict=Verdict(score=score, parts={"accuracy": score}),
                )
            )
    return groups


def _gradient(build, prompts_P, settings) -> torch.Tensor:
    """The sum of the gradients of the training step, with the weights moved before the first."""
    algo = AlgoConfig(**settings)
    policy = build(0)
    reference = build(1) if algo.kl_weight else None
    newline = policy.processor.tokenizer.encode("\n", add_special_tokens=False)[-1]
    rollouts_PG = _rollouts(prompts_P, newline)
    if algo.trace_shape is not None:
        rollouts_PG[0][0].imitated = True
    fill_advantages(rollouts_PG, algo)
    modulate_advantages(policy, rollouts_PG, algo.empg, SCORING)
    if algo.reference_reset:
        reset_reference(reference, policy)
    # one more epoch than needed keeps the steps off-policy
    steps = minibatches(
        policy, reference, rollouts_PG, algo.model_copy(update={"epochs": algo.epochs + 1}), SCORING
    )[: algo.epochs * algo.minibatches]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
    mix = build_weight(algo.imitation)
    for minibatch in steps:
        backward_mixed(policy, minibatch, algo, SCORING, mix=mix)
    found = [p.grad for p in policy.model.parameters() if p.grad is not None]
    return torch.cat([gradient.flatten() for gradient in found])


def test_the_list_of_keys_is_whole():
    assert {key.partition(".")[0] for key in CHANGES} == set(AlgoConfig.model_fields)


@pytest.mark.parametrize("key", CHANGES)
def test_a_key_changes_the_gradient(build, prompts_P, key):
    base, change = CHANGES[key]
    before = _gradient(build, prompts_P, base)
    after = _gradient(build, prompts_P, base | change)
    assert (after - before).abs().max() > 1e-4 * before.abs().max()


@pytest.mark.parametrize("form", ["psr", "nsr"])
def test_what_leaves_the_batch_leaves_the_gradient(build, prompts_P, form):
    """Also its count: the gradient is that of the kept completions alone."""
    algo = AlgoConfig(advantage=form, loss="grpo")
    policy = build(0)
    rollouts_PG = _rollouts(prompts_P, NEWLINE)
    fill_advantages(rollouts_PG, algo)
    kept = [rollout for rollouts_G in rollouts_PG for rollout in rollouts_G if rollout.counts]
    right = [r.verdict.parts["accuracy"] == 1 for r in kept]
    assert right == [form == "psr"] * {"psr": 4, "nsr": 4}[form]
    found = []
    for groups in (rollouts_PG, [kept]):
        [minibatch] = minibatches(policy, None, groups, algo, SCORING)
        assert minibatch.denominators.completions == 4
        metrics = backward(policy, minibatch, algo, SCORING)
        found.append((metrics["policy/loss"], _take(policy)))
    assert found[0][0] == pytest.approx(found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


def test_rover_compares_whole_distributions_with_those_that_sampled(build, prompts_P):
    """The loss of one completion, by the formula over the model's own logits."""
    algo = AlgoConfig(loss="rover", advantage="dr_grpo", epochs=2)
    policy = build(0)
    rollouts_PG = _rollouts(prompts_P, NEWLINE)[:1]
    fill_advantages(rollouts_PG, algo)
    lone = [[rollouts_PG[0][0]]]
    old_CV, targets_C = _distribution(policy, lone[0][0])
    steps = minibatches(policy, None, lone, algo, SCORING)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter += 0.01 * torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(2)
            )
    new_CV, _ = _distribution(policy, lone[0][0])
    ratio_CV = new_CV - old_CV
    allowed = ratio_CV.isfinite().all(0)
    q_C = ratio_CV.gather(-1, targets_C[:, None])[:, 0]
    after_C = torch.cat([ratio_CV[1:, allowed].mean(-1), torch.zeros(1)])
    expected = (q_C - lone[0][0].advantage - after_C).square().mean().item()
    found = backward(policy, steps[1], algo, SCORING)
    assert found["policy/loss"] == pytest.approx(expected, rel=1e-4)


def test_lines_of_a_completion_have_advantages_of_their_own(build, prompts_P):
    policy = build(0)
    algo = AlgoConfig(empg={})
    newline = policy.processor.tokenizer.encode("\n", add_special_tokens=False)[-1]
    rollouts_PG = _rollouts(prompts_P, newline)
    fill_advantages(rollouts_PG, algo)
    metrics = modulate_advantages(policy, rollouts_PG, algo.empg, SCORING)
    everything = [r for rollouts_G in rollouts_PG for r in rollouts_G]
    for rollout in everything:
        tokens, length = rollout.token_advantages, len(rollout.completion.ids)
        assert len(tokens) == length
        cut = length // 2 + 1
        assert len(set(tokens[:cut])) == 1
        assert len(set(tokens[cut:])) == (cut < length)
        assert rollout.advantage == pytest.approx(sum(tokens) / length)
    lines = [len(dict.fromkeys(r.token_advantages)) for r in everything]
    assert metrics["empg/lines"] == pytest.approx(sum(lines) / len(lines))
    plain = _rollouts(prompts_P, newline)
    fill_advantages(plain, AlgoConfig())
    assert modulate_advantages(policy, plain, None, SCORING) == {}
    assert plain[0][0].token_advantages is None


def test_an_unjudged_rollout_has_no_outcome():
    verdict = Verdict(score=None, parts={"accuracy": 1.0}, status="error")
    rollout = Rollout(
        prompt=None,  # pyright: ignore[reportArgumentType]
        completion=Completion(ids=(1,), logprobs=(0.0,), text="", stop="eos"),
        verdict=verdict,
    )
    other = dataclasses.replace(rollout, verdict=Verdict(score=1.0, parts={"accuracy": 1.0}))
    fill_advantages([[rollout, other]], AlgoConfig(advantage="psr"))
    assert [(r.counts, r.advantage) for r in (rollout, other)] == [(False, 0.0), (True, 1.0)]


def test_groups_that_agree_leave_the_denominators_when_asked(build, prompts_P):
    rollouts_PG = _rollouts(prompts_P, NEWLINE)
    counts = {}
    for drop in (False, True):
        algo = AlgoConfig(drop_agreeing=drop)
        fill_advantages(rollouts_PG, algo)
        [minibatch] = minibatches(build(0), None, rollouts_PG, algo, SCORING)
        counts[drop] = (minibatch.denominators.completions, minibatch.denominators.tokens)
    assert counts == {False: (9, sum(map(sum, LENGTHS_PG))), True: (6, 5 + 2 + 8 + 1 + 6 + 7)}


def test_a_trace_of_a_teacher_is_imitated_beside_what_was_sampled(build, prompts_P):
    """LUFFY: the gradient is that of p / (p + 0.1), and of the others what it was."""
    algo = AlgoConfig(advantage="dr_grpo", loss="grpo")
    policy = build(0)
    rollouts_PG = _rollouts(prompts_P, NEWLINE)[:1]
    fill_advantages(rollouts_PG, algo)
    teacher = rollouts_PG[0][0]
    teacher.imitated = True
    teacher.completion = dataclasses.replace(teacher.completion, logprobs=())
    [minibatch] = minibatches(policy, None, rollouts_PG, algo, SCORING)
    found = backward(policy, minibatch, algo, SCORING)["policy/loss"]
    logprobs_CV, targets_C = _distribution(policy, teacher)
    p_C = logprobs_CV.gather(-1, targets_C[:, None])[:, 0].exp()
    shaped = (p_C / (p_C + 0.1)).mean().item()
    others = [rollout.advantage for rollout in rollouts_PG[0][1:]]
    assert found == pytest.approx(-(shaped * teacher.advantage + sum(others)) / 3, rel=1e-4)
    assert policy.model.lm_head.weight.grad.abs().max() > 0


def test_reinforcement_and_imitation_share_a_step_by_weight(build, prompts_P):
    policy, algo = build(0), AlgoConfig()
    rollouts_PG = _rollouts(prompts_P, NEWLINE)
    fill_advantages(rollouts_PG, algo)
    [minibatch] = minibatches(policy, None, rollouts_PG, algo, SCORING)
    responses_P = [rollouts_G[0].completion.ids for rollouts_G in rollouts_PG]
    losses, parts = [], []
    for weight in (1.0, 0.3):
        losses.append(backward(policy, minibatch, algo, SCORING, weight=weight)["policy/loss"])
        parts.append(_take(policy))
    torch.testing.assert_close(parts[1], 0.3 * parts[0], rtol=1e-4, atol=1e-7)
    assert losses[0] == losses[1]
    for weight in (1.0, 0.7):
        losses.append(backward_responses(policy, prompts_P, responses_P, SCORING, weight=weight))
        parts.append(_take(policy))
    torch.testing.assert_close(parts[3], 0.7 * parts[2], rtol=1e-4, atol=1e-7)
    backward(policy, minibatch, algo, SCORING, weight=0.3)
    backward_responses(policy, prompts_P, responses_P, SCORING, weight=0.7)
    torch.testing.assert_close(_take(policy), parts[1] + parts[3], rtol=1e-4, atol=1e-6)


def test_measuring_what_imitation_gains_leaves_the_step_as_it_was(build, prompts_P):
    """The gain is that of the very gradients, and of a step it is seen in the loss itself."""
    algo = AlgoConfig(imitation={"weight": 0.4, "adapt": {"gain_rate": 1.0}}, loss="grpo")
    policy = build(0)
    rollouts_PG = _rollouts(prompts_P, NEWLINE)
    fill_advantages(rollouts_PG, algo)
    [minibatch] = minibatches(policy, None, rollouts_PG, algo, SCORING)
    assert minibatch.prompts == tuple(prompts_P)
    lr, found = 1e-3, []
    for validation in ((), prompts_P[:2]):
        mix = build_weight(algo.imitation)
        options = {"mix": mix, "validation": validation, "lr": lr}
        metrics = backward_mixed(policy, minibatch, algo, SCORING, **options)
        found.append((metrics, mix, _take(policy)))
    torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-4, atol=1e-6)
    assert found[0][1].weight == 0.4
    gain = found[1][0]["imitation/gain"]
    assert found[1][1].weight == pytest.approx(0.4 + gain)
    # imitating the same responses that are measured helps them
    assert gain > 0
    losses = {}
    for weight in (0.4, 0.5):
        moved = build(0)
        backward(moved, minibatch, algo, SCORING, weight=1 - weight)
        responses = [response_ids(moved, prompt.row) for prompt in prompts_P]
        backward_responses(moved, prompts_P, responses, SCORING, weight=weight)
        with torch.no_grad():
            for parameter in moved.model.parameters():
                if parameter.grad is not None:
                    parameter -= lr * parameter.grad
        losses[weight] = backward_responses(moved, prompts_P[:2], responses[:2], SCORING)
    assert (losses[0.4] - losses[0.5]) / 0.1 == pytest.approx(gain, rel=0.1)


@pytest.mark.parametrize("forgets", [True, False])
def test_the_reference_moves_when_it_is_time_and_moments_may_be_forgotten(build, forgets):
    algo = AlgoConfig(**KL, reference_reset={"every": 2, "optimizer": forgets})
    stage = SimpleNamespace(algo=algo)
    policy, reference = build(0), build(1)
    optimizer = Optimizer(config=OptimConfig(steps=4), policy=policy)
    run = SimpleNamespace(step=0, policy=policy, reference=reference, optimizer=optimizer)
    before = [p.clone() for p in reference.model.parameters()]
    optimizer.step(0)
    sum(p.sum() for p in policy.model.parameters()).backward()
    optimizer.step(1)
    assert optimizer.adamw.state
    move_reference(run, stage)
    assert all(map(torch.equal, before, reference.model.parameters()))
    run.step = 1
    move_reference(run, stage)
    assert all(map(torch.equal, policy.model.parameters(), reference.model.parameters()))
    assert not any(map(torch.equal, before, reference.model.parameters()))
    states = optimizer.adamw.state.values()
    assert any(value.any() for state in states for value in state.values()) != forgets


def _take(policy) -> torch.Tensor:
    pieces = [p.grad.flatten() for p in policy.model.parameters() if p.grad is not None]
    policy.model.zero_grad()
    return torch.cat(pieces)


@torch.no_grad()
def _distribution(policy, rollout) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([[*rollout.prompt.ids, *rollout.completion.ids]])
    logits = policy.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    logits = logits[len(rollout.prompt.ids) - 1 : -1]
    logits[:, list(policy.banned_ids)] = float("-inf")
    return logits.log_softmax(-1), torch.tensor(rollout.completion.ids)
