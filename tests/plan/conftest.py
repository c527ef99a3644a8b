"""A small step for the tests of the cost model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmrl.plan.dimensions import TINY
from mmrl.plan.parameters import count_parameters
from mmrl.plan.step import Prompts, Step


@pytest.fixture(scope="session")
def toy_step() -> Callable[..., Step]:
    """Builds a step of a tiny model, with what its user changes."""

    def build(**changes) -> Step:
        model = changes.pop("model", TINY["qwen2_5_vl"])
        values = {
            "model": model,
            "parameters": count_parameters(model),
            "prompts": Prompts(text_tokens=40, completion_tokens=10),
            "prompt_count": 4,
            "group_size": 4,
            "sharing": "packed",
            "micro_tokens": 1000,
            "max_batch": 512,
            "dtype": "float32",
            "checkpointing": False,
            "world": 1,
            "nodes": 1,
            "strategy": "single",
            "engine": "hf",
        }
        return Step(**(values | changes))

    return build
