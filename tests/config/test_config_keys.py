from __future__ import annotations

from mmrl.config.keys import run_groups, stage_groups, stage_kinds, walk
from mmrl.config.schema import Run


def keys(kind: str):
    return {key.path: key for key in walk(stage_kinds()[kind])}


def test_every_kind_of_stage_is_known():
    assert sorted(stage_kinds()) == ["grpo", "select", "sft"]
    assert "algo.loss" in keys("grpo")
    assert "algo.loss" not in keys("sft")


def test_sections_are_groups():
    assert {"model", "data", "optim", "algo"} <= set(stage_groups())
    assert run_groups() == ("launch",)


def test_a_key_shows_type_range_default_and_meaning():
    found = keys("grpo")
    size = found["rollout.group_size"]
    assert (size.type, size.range, size.default) == ("integer", "at least 2", "8")
    assert size.doc == "Completions per prompt; one completion has no siblings to be compared with."
    assert found["algo.loss"].choices[:2] == ("grpo", "dr_grpo")
    assert found["rewards.terms.<name>.weight"].type == "number or schedule"
    assert found["data.train.<name>.params"].type == "mapping"
    assert found["optim.steps"].default == "required"
    assert found["log.trackers"].type == "list of tensorboard | wandb | trackio"
    assert found["rollout.top_p"].range == "more than 0, at most 1"


def test_the_run_has_its_own_keys():
    assert [key.path for key in walk(Run)] == [
        "name",
        "out",
        "seed",
        "smoke",
        "launch.processes",
        "launch.strategy",
        "launch.offload",
        "launch.nodes",
        "launch.node_rank",
        "launch.master_address",
        "launch.master_port",
        "launch.backend",
        "launch.timeout_s",
        "launch.scheduler",
        "launch.sbatch",
    ]
