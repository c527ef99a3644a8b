"""What memory a launch takes is said before anything is loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmrl.config.loader import load_run
from mmrl.config.schema import GrpoStage
from mmrl.distributed.spread import check_gathered
from mmrl.errors import ConfigError
from mmrl.plan.memory import predict_host
from mmrl.plan.plan import step_of
from mmrl.plan.step import Prompts
from mmrl.project import find_project


def _step(*arguments: str):
    asked = ["stage=geometry3k", "model=qwen2_5_vl_7b", "launch=node8", *arguments]
    run = load_run(asked, find_project()).run
    stage = run.stages["geometry3k"]
    assert isinstance(stage, GrpoStage)
    return step_of(stage, run.launch, Prompts(text_tokens=100, completion_tokens=50))


@pytest.mark.parametrize("strategy", ["zero3", "fsdp2"])
def test_one_process_of_a_node_loads_weights_that_are_shared_out_and_all_load_others(strategy):
    apart, whole = _step(f"launch.strategy={strategy}"), _step("launch.strategy=zero2")
    once = 4.0 * whole.parameters.all.total
    assert predict_host(apart)["loading"] == once
    assert predict_host(whole)["loading"] == 8 * once
    nodes = replace(whole, world=16, nodes=2)
    assert predict_host(nodes)["loading"] == 8 * once


def test_the_base_of_an_adapter_is_loaded_by_one_process_too_where_it_is_shared_out():
    lora = ("model.lora={rank: 8}", "model.freeze=none")
    apart, whole = _step("launch.strategy=zero3", *lora), _step("launch.strategy=zero2", *lora)
    assert 8 * predict_host(apart)["loading"] == predict_host(whole)["loading"]
    assert predict_host(apart)["saving"] == 8.0 * apart.parameters.learning.total


def test_moments_and_then_weights_are_gathered_when_a_checkpoint_is_written():
    step = _step("launch.strategy=zero3", "model.freeze=none")
    count = step.parameters.all.total
    assert step.parameters.learning.total == count
    assert predict_host(step)["saving"] == 8.0 * count
    assert predict_host(replace(step, learns=False)) == {"loading": 4.0 * count}


def test_sampling_with_a_model_that_no_gpu_holds_is_refused_with_what_to_use():
    check_gathered(60 * 2**30, 79 * 2**30, "easy")
    with pytest.raises(ConfigError, match=r"stage easy: .*273 GiB.*79 GiB; use rollout.engine=vll"):
        check_gathered(273 * 2**30, 79 * 2**30, "easy")
