from __future__ import annotations

import json

import pytest

from mmrl.config.sampling import PlateauStop, RewardStop, StopConfig
from mmrl.curriculum.stopping import StopRules, is_flat, reached


def steps_until(rules: StopRules, rewards, *, tokens: int = 10) -> tuple[int, str]:
    """The step at which a rule ends the stage, and which; each step costs ten tokens."""
    for step, reward in enumerate(rewards, start=1):
        reason = rules.observe({"reward/mean": reward}, step * tokens)
        if reason:
            return step, reason
    return 0, ""


def test_without_rules_a_stage_goes_on():
    assert steps_until(StopRules(StopConfig()), [1.0] * 200) == (0, "")


def test_a_token_budget_is_the_stages_own():
    rules = StopRules(StopConfig(tokens=35))
    assert steps_until(rules, [0.0] * 9) == (4, "tokens")
    later = StopRules(StopConfig(tokens=35), tokens=1000)
    assert later.observe({}, 1034) == ""
    assert later.observe({}, 1035) == "tokens"


def test_a_reward_has_to_hold_for_some_steps():
    rule = RewardStop(at_least=0.75, steps=3)
    assert not reached([0.9, 0.9], rule)
    rewards = [0.0, 1.0, 0.7, 0.7, 1.0, 1.0, 1.0]
    assert steps_until(StopRules(StopConfig(reward=rule)), rewards) == (4, "reward")


def test_a_plateau_is_a_mean_that_no_longer_rises():
    rule = PlateauStop(steps=3, min_gain=0.05)
    rising = [step / 10 for step in range(10)]
    assert steps_until(StopRules(StopConfig(plateau=rule)), rising) == (0, "")
    level = [*rising, *[0.9] * 6]
    assert steps_until(StopRules(StopConfig(plateau=rule)), level) == (14, "plateau")
    assert is_flat([0.5, 0.5, 0.5, 0.1, 0.1, 0.1], rule)


def test_a_metric_that_a_step_lacks_counts_for_nothing():
    rules = StopRules(StopConfig(reward=RewardStop(at_least=0.5, steps=2, metric="reward/format")))
    assert rules.observe({"reward/mean": 1.0}, 1) == ""
    assert rules.observe({"reward/format": 1.0}, 2) == ""
    assert rules.observe({"reward/mean": 0.0}, 3) == ""
    assert rules.observe({"reward/format": 1.0}, 4) == "reward"


@pytest.mark.parametrize("before", [0, 3, 7])
def test_rules_go_on_where_their_state_was_taken(before):
    config = StopConfig(
        reward=RewardStop(at_least=0.9, steps=3), plateau=PlateauStop(steps=4), tokens=10_000
    )
    rewards = [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    straight = steps_until(StopRules(config), rewards)
    first = StopRules(config)
    assert steps_until(first, rewards[:before]) == (0, "")
    second = StopRules(config, tokens=999)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    step, reason = steps_until(second, rewards[before:])
    assert (step + before, reason) == straight
    assert straight[1] == "plateau"
