"""Adapters whose base is shared out learn as in one process; their reference is the same base."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.distributed


@pytest.mark.parametrize("strategy", ["fsdp2", "zero3"])
def test_adapters_on_a_base_in_parts_learn_as_in_one_process(train, strategy):
    if strategy == "zero3" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("needs deepspeed")
    keys = ["stage=free", "model.lora={rank: 4, targets: all}", "optim.steps=2"]
    keys += ["checkpoint.every=2"]
    one = _metrics(train(*keys))
    launch = [f"launch.strategy={strategy}", "launch.processes=2", "launch.timeout_s=60"]
    two = _metrics(train(*keys, *launch))
    assert one[1]["optim/grad_norm"] > 0
    for ours, theirs in zip(one, two, strict=True):
        for key, value in ours.items():
            if not isinstance(value, str):
                assert theirs[key] == pytest.approx(value, rel=1e-4, abs=1e-6), key


def _metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
