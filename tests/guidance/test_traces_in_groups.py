"""Traces of teachers stand in groups as LUFFY and AMPO have it, and learn by a term of their own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from mmrl.config.algo import AlgoConfig
from mmrl.config.loader import load_run
from mmrl.errors import ConfigError, DataError
from mmrl.guidance.metrics import describe_help
from mmrl.guidance.traces import answer_tokens, comprehended
from mmrl.rollout import as_record, fill_advantages
from mmrl.update import backward, minibatches

ROOT = Path(__file__).resolve().parents[2]
RIGHT = "<think>so</think><answer>3</answer>"


def wrong(text: str, place: int) -> str:
    return "<answer>5</answer>"


def kept(rollouts):
    return [rollout for rollout in rollouts if not rollout.spent]


def test_luffy_puts_a_trace_into_every_group(make_guide, answering, train_groups, ask):
    """Seven that fail and a trace that is right: -0.125 and 0.875."""
    row = ask("what?", response=RIGHT)
    draw = answering(wrong)
    guide = make_guide([row], guidance={"kind": "luffy"}, rollout={"group_size": 8})
    [group] = train_groups(guide, [row], draw)
    assert draw.asked[0][1] == 7
    assert [(r.imitated, r.aid) for r in group] == [(False, None)] * 7 + [(True, "trace")]
    assert group[-1].completion.text == RIGHT
    fill_advantages([group], AlgoConfig(advantage="dr_grpo"))
    assert [r.advantage for r in group] == pytest.approx([-0.125] * 7 + [0.875])
    assert as_record(group[-1])["aid"] == "trace"
    assert "aid" not in as_record(group[0])
    metrics = describe_help([group], guide.stage.guidance)
    assert metrics["guidance/traced_groups"] == 1
    assert metrics["guidance/hinted_groups"] == 0


def test_luffy_chooses_among_traces_by_chance_and_always_alike(
    make_guide, answering, train_groups, ask
):
    traces = [f"<answer>{number}</answer>" for number in range(9)]
    row = ask("what?", extra={"traces": traces})
    guide = make_guide([row], guidance={"kind": "luffy", "traces": "traces", "count": 2})
    seen = set()
    for seed in range(6):
        first, again = (
            [r.completion.text for r in train_groups(guide, [row], answering(wrong), seed=seed)[0]]
            for _ in range(2)
        )
        assert first == again
        assert len(set(first[2:])) == 2
        seen |= set(first[2:])
    assert len(seen) > 4


def test_ampo_gives_a_failing_group_the_right_traces_that_are_comprehended_best(
    make_guide, answering, train_groups, ask, guided_policy
):
    """Two of eight replaced: 0.75 for the traces, -0.25 for the six that failed."""
    traces = ["<answer>4</answer>", *(f"{word}<answer>3</answer>" for word in ("a", "bb", "c"))]
    row = ask("what?", extra={"traces": traces})
    guide = make_guide([row], guidance={"kind": "ampo"}, rollout={"group_size": 8})
    [group] = train_groups(guide, [row], answering(wrong))
    taught = [r for r in kept(group) if r.imitated]
    fill_advantages([kept(group)], AlgoConfig(advantage="dr_grpo"))
    assert sorted(r.advantage for r in kept(group)) == pytest.approx([-0.25] * 6 + [0.75] * 2)
    assert len([r for r in group if r.spent]) == 2
    completions = [r.completion for r in taught]
    best = comprehended(guided_policy, taught[0].prompt, completions, guide.scoring)
    others = guide._traces(
        taught[0].prompt, [t for t in traces[1:] if t not in [c.text for c in completions]]
    )
    rest = comprehended(guided_policy, taught[0].prompt, others, guide.scoring)
    assert min(best) >= max(rest)


def test_ampo_leaves_groups_alone_that_do_not_fail_unless_told(
    make_guide, answering, train_groups, ask
):
    row = ask("what?", extra={"traces": [RIGHT]})
    draw = answering(lambda text, place: RIGHT if place == 1 else "no")
    [group] = train_groups(make_guide([row], guidance={"kind": "ampo"}), [row], draw)
    assert not any(r.imitated for r in group)
    always = make_guide([row], guidance={"kind": "ampo", "also": 1.0})
    [group] = train_groups(always, [row], draw)
    assert [r.verdict.score for r in kept(group)].count(1.0) == 2
    assert sum(r.imitated for r in group) == 1


def test_comprehension_is_the_geometric_mean_over_the_answer(guided_policy, make_guide, ask):
    guide = make_guide([])
    prompt = guide.prompts(ask("what?"))
    [completion] = guide._traces(prompt, [RIGHT])
    ids = torch.tensor([[*prompt.ids, *completion.ids]])
    positions = torch.arange(ids.shape[1]).expand(3, 1, -1)
    with torch.no_grad():
        logits_TV = guided_policy.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=positions
        ).logits[0]
    logits_TV[:, list(guided_policy.banned_ids)] = float("-inf")
    logprobs = logits_TV.log_softmax(-1)
    tokenizer = guided_policy.processor.tokenizer
    chosen = answer_tokens(tokenizer, RIGHT)
    assert tokenizer.decode([completion.ids[place] for place in chosen]) == "3"
    start = len(prompt.ids)
    values = [float(logprobs[start + i - 1, completion.ids[i]]) for i in chosen]
    [found] = comprehended(guided_policy, prompt, [completion], guide.scoring)
    assert found == pytest.approx(math.exp(sum(values) / len(values)), rel=1e-4)


def _gradient(policy, group, settings, scoring) -> torch.Tensor:
    algo = AlgoConfig(**settings)
    fill_advantages([group], algo)
    [minibatch] = minibatches(policy, None, [group], algo, scoring)
    backward(policy, minibatch, algo, scoring)
    found = [p.grad.flatten() for p in policy.model.parameters() if p.grad is not None]
    policy.model.zero_grad()
    return torch.cat(found)


@pytest.mark.parametrize("change", [{"trace_shape": 0.5}, {"trace_mean": "sequence"}])
def test_what_a_trace_weighs_can_be_set(
    make_guide, answering, train_groups, ask, guided_policy, change
):
    row = ask("what?", response=RIGHT)
    guide = make_guide([row], guidance={"kind": "luffy"})
    [group] = train_groups(guide, [row], answering(wrong))
    base = {"advantage": "dr_grpo"}
    before = _gradient(guided_policy, group, base, guide.scoring)
    after = _gradient(guided_policy, group, base | change, guide.scoring)
    assert (after - before).abs().max() > 1e-3 * before.abs().max()


def test_a_trace_that_is_too_long_is_refused(make_guide, answering, train_groups, ask):
    row = ask("what?", response="word " * 80)
    with pytest.raises(DataError, match=r"a trace has \d+ tokens .* more than rollout.max_new_to"):
        train_groups(make_guide([row], guidance={"kind": "luffy"}), [row], answering(wrong))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("guidance=luffy", "guidance.count=8"), "has to be less than rollout.group_size (8)"),
        (("algo.trace_shape=0.2",), "algo.trace_shape does nothing without traces"),
        (("algo.trace_mean=sequence",), "algo.trace_mean does nothing without traces"),
        (("guidance=keye", "guidance.text=hint"), "must hold '{hint}'"),
        (("guidance=ghpo", "guidance.shares=[0.5,0.25]"), "shares have to ascend"),
        (("guidance=prefix", "guidance.share=1"), "at least 0 and less than 1"),
        (("thinking=no_think",), "take the reward no_think"),
        (("thinking=autothink",), "rewards.terms has to hold accuracy alone"),
        (("guidance=keye", "contrast.group_size=2"), "contrast does not go with guidance keye"),
        (("rollout.max_new_tokens=8", "rollout.budget={0: 4, 0.5: 9}"), "from 1 to max_new_tokens"),
    ],
)
def test_settings_that_would_do_nothing_are_one_line(arguments, message):
    with pytest.raises(ConfigError) as error:
        load_run(["stage=quickstart/grpo", *arguments], ROOT)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
