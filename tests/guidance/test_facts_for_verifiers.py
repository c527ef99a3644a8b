"""What verifiers are told: accuracies on shuffled frames, and probabilities of the reference."""

from __future__ import annotations

import json

import pytest
import torch

from mmrl.errors import ConfigError
from mmrl.guidance.metrics import describe_help

CONTRAST = {"accuracy": {}, "order": {"name": "temporal_contrast"}}
REFERENCE = {"accuracy": {"weight": 0}, "likely": {"name": "reference_probability"}}


def kept(rollouts):
    return [rollout for rollout in rollouts if not rollout.spent]


@pytest.mark.parametrize(("shuffled_right", "bonus"), [(1, 0.3), (2, 0.0)])
def test_order_is_rewarded_where_shuffled_frames_do_worse(
    make_guide, answering, train_groups, ask, shuffled_right, bonus
):
    """Three of eight right in order; one of four shuffled leaves the bonus, two take it away."""
    row = ask("video:a.mp4", "which order?")

    def answer(text: str, place: int) -> str:
        return "<answer>3</answer>" if place < limits[-1] else "no"

    limits = [3]
    draw = answering(answer)

    def drawing(prompts_P, *, group_size, seed, places):
        limits.append(3 if group_size == 8 else shuffled_right)
        return draw(prompts_P, group_size=group_size, seed=seed, places=places)

    guide = make_guide([row], rewards={"terms": CONTRAST}, contrast={}, rollout={"group_size": 8})
    [group] = train_groups(guide, [row], drawing)
    scores = [r.verdict.score for r in kept(group)]
    assert scores == pytest.approx([1 + bonus] * 3 + [0] * 5)
    assert [r.aid for r in group if r.spent] == ["shuffled"] * 4
    assert guide.prompts.decoded == guide.prompts.processed == 1
    metrics = describe_help([group], guide.stage.guidance)
    assert metrics == {
        "contrast/groups": 1,
        "contrast/shuffled": pytest.approx(shuffled_right / 4),
        "contrast/completions": 4,
        "contrast/ordered": pytest.approx(3 / 8),
    }


def test_questions_without_a_video_are_not_asked_again(make_guide, answering, train_groups, ask):
    row = ask("image:a.png", "what?")
    guide = make_guide([row], rewards={"terms": CONTRAST}, contrast={})
    draw = answering(lambda text, place: "<answer>3</answer>")
    [group] = train_groups(guide, [row], draw)
    assert [r.verdict.score for r in group] == [1] * 4
    assert len(draw.asked) == 1


def test_shuffled_frames_and_the_term_that_needs_them_go_together(make_guide, ask):
    with pytest.raises(ConfigError, match="does nothing without the reward temporal_contrast"):
        make_guide([], contrast={})
    rows = [ask("video:a.mp4", "?")]
    with pytest.raises(ConfigError, match="row r1 is answered on shuffled frames"):
        make_guide(rows, rewards={"terms": CONTRAST})


def _probabilities(policy, prompt, text: str, reference: str) -> list[float]:
    """By the model's own logits, one prompt alone."""
    tokenizer = policy.processor.tokenizer
    before, after = (tokenizer(t, add_special_tokens=False).input_ids for t in (text, reference))
    ids = torch.tensor([[*prompt.ids, *before, *after]])
    positions = torch.arange(ids.shape[1]).expand(3, 1, -1)
    with torch.no_grad():
        logits_TV = policy.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=positions
        ).logits[0]
    logits_TV[:, list(policy.banned_ids)] = float("-inf")
    chosen = logits_TV.softmax(-1)[-len(after) - 1 : -1]
    return [float(row[token]) for row, token in zip(chosen, after, strict=True)]


def test_the_reference_is_weighed_behind_each_completions_reasoning(
    make_guide, answering, train_groups, ask, guided_policy
):
    row = ask("what?", answer="three red dots")
    texts = [
        "<think>a</think><answer>x</answer>",
        "<think>bb</think><answer>y</answer>",
        "no",
        "<answer>three red dots</answer>",
    ]
    guide = make_guide([row], rewards={"terms": REFERENCE})
    [group] = train_groups(guide, [row], answering(lambda text, place: texts[place]))
    prompt = guide.prompts(row)
    base = _probabilities(guided_policy, prompt, "", "three red dots")
    baseline = sum(base) / len(base)
    for place, before in (
        (0, "<think>a</think><answer>"),
        (1, "<think>bb</think><answer>"),
        (3, "<answer>"),
    ):
        found = _probabilities(guided_policy, prompt, before, "three red dots")
        parts = group[place].verdict.parts
        assert parts["likely/probability"] == pytest.approx(sum(found) / len(found), rel=1e-4)
        gain = max(0.0, sum(found) / len(found) - baseline)
        assert parts["likely/debiased"] == pytest.approx(gain, rel=1e-3, abs=1e-7)
    assert group[2].verdict.status == "no_answer"
    assert group[2].verdict.parts["likely"] == 0
    assert group[0].facts["reference_baseline"] == pytest.approx(baseline, rel=1e-4)


def test_the_worth_without_reasoning_is_that_of_the_first_visit(
    make_guide, answering, train_groups, ask
):
    row = ask("what?", answer="3")
    guide = make_guide([row], rewards={"terms": REFERENCE})
    draw = answering(lambda text, place: "<answer>3</answer>")
    [group] = train_groups(guide, [row], draw)
    guide.observe([group], step=1)
    first = guide.baselines["r1"]
    guide.baselines["r1"] = 0.5
    [again] = train_groups(guide, [row], draw)
    assert again[0].facts["reference_baseline"] == 0.5
    other = make_guide([row], rewards={"terms": REFERENCE})
    other.load_state_dict(json.loads(json.dumps({"baselines": {"r1": first}})))
    assert other.state_dict() == {"baselines": {"r1": first}}


def test_length_targets_move_with_the_answers_of_the_last_twenty_steps(
    make_guide, answering, train_groups, ask
):
    """Right answers of about a dozen tokens: the target falls from 100 to the lowest one, 20."""
    terms = {
        "accuracy": {},
        "short": {
            "name": "laser_d",
            "params": {"easy": 100, "medium": 100, "hard": 100, "moving": True, "lower": 20},
        },
    }
    row = ask("what?")
    guide = make_guide([row], rewards={"terms": terms}, rollout={"max_new_tokens": 60})
    long = "<think>" + "well " * 8 + "</think><answer>3</answer>"
    draw = answering(lambda text, place: long if place == 3 else "<answer>3</answer>")
    found = []
    for step in range(1, 22):
        [group] = train_groups(guide, [row], draw)
        guide.observe([group], step=step)
        found.append(group[3].verdict.parts["short"])
        if step == 7:
            state = json.loads(json.dumps(guide.state_dict()))
            guide = make_guide([row], rewards={"terms": terms}, rollout={"max_new_tokens": 60})
            guide.load_state_dict(state)
    assert found == [0.5] * 20 + [0.0]
    assert len(guide.monitor.known["easy"]) == 80
