"""What the keys of overlap refuse, and what the clock of a step says."""

from __future__ import annotations

import json
import time

import pytest

from mmrl.cli import run as run_cli
from mmrl.clock import Clock
from mmrl.config.loader import load_resolved, load_run
from mmrl.config.schema import GrpoStage
from mmrl.distributed.ranks import Ranks


def grpo(run) -> GrpoStage:
    stage = run.stages["words"]
    assert isinstance(stage, GrpoStage)
    return stage


def test_a_stage_that_samples_ahead_is_corrected_unless_it_says_how(project):
    assert grpo(load_run(["stage=words"], project).run).algo.importance is None
    loaded = load_run(["stage=words", "rollout.async_steps=1"], project)
    importance = grpo(loaded.run).algo.importance
    assert importance is not None
    assert (importance.level, importance.mode, importance.cap) == ("token", "truncate", 3.0)
    assert loaded.provenance["stages.words.algo.importance.cap"] == "schema default"
    own = ["stage=words", "rollout.async_steps=1", "algo.importance.level=sequence"]
    importance = grpo(load_run(own, project).run).algo.importance
    assert importance is not None
    assert importance.level == "sequence"


def test_the_resolved_configuration_reads_back(project, go, lines):
    run = go("optim.steps=1", "rollout.async_steps=1")
    assert grpo(load_resolved(run)).algo.importance is not None
    [step] = [line for line in lines(run / "timings.jsonl") if "step_s" in line]
    phases = ("prompts_s", "sample_s", "judge_s", "share_s", "update_s", "sync_s")
    assert sum(step[phase] for phase in phases) <= step["step_s"] + 0.001
    assert step["judge_busy_s"] >= 0
    assert 0 <= step["idle_frac"] <= 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["algo.importance=null"], "and algo.importance, which corrects for that, is null"),
        (["algo.loss=vespo"], "needs algo.importance, which loss vespo does not go with"),
        (["guidance.kind=ghpo"], "does not go with guidance ghpo"),
        (["guidance.kind=keye"], "does not go with guidance keye"),
        (["checkpoint.every=1"], "does nothing with checkpoint.every 1"),
    ],
)
def test_what_does_not_go_with_steps_ahead_is_one_line(project, capsys, changes, said):
    command = ["--project", str(project), "train", "stage=words", "rollout.async_steps=1"]
    assert run_cli([*command, "--dry-run", *changes]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("mmrl: rollout.async_steps ")
    assert said in line


def test_a_batch_larger_than_the_step_is_a_mistake(project, capsys):
    command = ["--project", str(project), "train", "stage=words", "--dry-run"]
    assert run_cli([*command, "rollout.prompts_per_batch=4"]) == 0
    capsys.readouterr()
    assert run_cli([*command, "rollout.prompts_per_batch=5"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "rollout: prompts_per_batch (5) is larger than prompts_per_step (4)" in line


def test_only_stages_that_sample_and_train_have_the_keys(project, capsys):
    for kind in ("sft", "select"):
        keys = ["kind=" + kind, "rollout.async_steps=1"]
        assert run_cli(["--project", str(project), "train", "stage=words", *keys]) == 2
        said = capsys.readouterr().err
        assert "rollout.async_steps: only a stage of kind grpo has it" in said


def test_the_idle_share_is_what_neither_sampled_nor_learned():
    ranks = Ranks()
    clock = Clock(ranks=ranks)
    for phase, seconds in (("prompts_s", 0.02), ("sample_s", 0.04), ("judge_s", 0.02)):
        time.sleep(seconds)
        clock.lap(phase)
    time.sleep(0.04)
    ranks.waited_s += 0.01
    clock.lap("update_s")
    clock.note("judge_busy_s", 5.0)
    found = clock.seconds()
    worked = found["sample_s"] + found["update_s"] - 0.01
    assert found["idle_frac"] == pytest.approx(1 - worked / found["step_s"])
    assert found["step_s"] < 5
    assert json.loads(json.dumps(found)) == found
