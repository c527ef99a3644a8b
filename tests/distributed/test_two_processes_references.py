"""A reference in parts that moves, and scores before several optimizer steps, are those of one
process.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.distributed

KEYS = [
    "stage=free",
    "optim.steps=2",
    "checkpoint.every=1",
    "algo.reference_reset={every: 1}",
    "algo.minibatches=2",
    "algo.high_entropy_share=0.5",
    "rollout.prompts_per_step=4",
]


@pytest.mark.parametrize("strategy", ["fsdp2", "zero3"])
def test_a_reference_in_parts_moves_and_scores_as_in_one_process(train, strategy):
    if strategy == "zero3" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("needs deepspeed")
    one = train(*KEYS)
    launch = [f"launch.strategy={strategy}", "launch.processes=2", "launch.timeout_s=60"]
    two = train(*KEYS, *launch)
    pairs = [*zip(_metrics(one), _metrics(two), strict=True)]
    assert pairs[2][0]["policy/kl"] > 0
    for ours, theirs in pairs:
        for key, value in ours.items():
            if not isinstance(value, str):
                assert theirs[key] == pytest.approx(value, rel=2e-4, abs=1e-5), key
    ours, theirs = (
        load_file(run / "checkpoints" / "free-000001" / "reference.safetensors")
        for run in (one, two)
    )
    assert ours.keys() == theirs.keys()
    weights = load_file(two / "checkpoints" / "free-000001" / "model.safetensors")
    for name, tensor in theirs.items():
        assert tensor.equal(weights[name]), name


def _metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
