"""What an adapter, four bits and an optimizer in eight bits change in the memory of a process."""

from __future__ import annotations

import pytest

from mmrl.config.loader import load_run
from mmrl.plan.hardware import GPUS
from mmrl.plan.memory import Memory
from mmrl.plan.plan import make_plan, step_of
from mmrl.plan.step import Prompts
from mmrl.project import default_project

N, EDGES = 8_292_166_656, 2 * 544_997_376
"""Parameters of Qwen2.5-VL 7B, and of its embedding and head."""
OWN = 64 * 28 * (2 * (3584 + 3584) + 2 * (3584 + 512) + 3 * (3584 + 18_944))
"""Of an adapter of rank 64 on its language model."""


def memory(*keys: str) -> Memory:
    arguments = ["stage=geometry3k", "model=qwen2_5_vl_7b", "algo.kl_weight=0.1", "out=x", *keys]
    run = load_run(arguments, default_project()).run
    prompts = Prompts(text_tokens=100, completion_tokens=100)
    return make_plan(step_of(run.stages["geometry3k"], run.launch, prompts), GPUS["h100"]).memory


def test_an_adapter_is_all_that_has_gradients_and_moments():
    found = memory("model.lora.rank=64")
    assert found.always["weights"] == 2 * N + 4 * OWN
    assert found.always["optimizer states"] == 8 * OWN
    assert found.update["gradients"] == 4 * OWN
    assert "reference" not in found.always


def test_four_bits_are_for_all_but_embedding_and_head():
    found = memory("model.lora.rank=64", "model.lora.quantize=nf4").always["weights"]
    assert found == pytest.approx(4 * EDGES + (0.5 + 1 / 64) * (N - EDGES) + 4 * OWN, rel=0.001)


def test_whole_training_holds_weights_moments_and_a_reference_in_float32():
    found = memory()
    assert found.always["weights"] == found.always["reference"] == 4 * N
    assert found.always["optimizer states"] == 8 * N


@pytest.mark.parametrize("kind", ["adamw_8bit", "paged_adamw_8bit"])
def test_eight_bits_are_a_quarter_of_the_moments(kind):
    plain, found = memory(), memory(f"optim.kind={kind}")
    states = found.always["optimizer states"], plain.always["optimizer states"]
    assert states[0] == pytest.approx(states[1] / 4, rel=0.02)
    assert found.optimizer["AdamW's temporaries"] == 0 < plain.optimizer["AdamW's temporaries"]
