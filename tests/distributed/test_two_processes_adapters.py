"""Adapters in float32 learn on a base in bfloat16 as in one process, whoever holds which part, and
the base stays as it was; a gradient that is not finite changes nothing.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.distributed

WORKER = Path(__file__).with_name("adapters_worker.py")


@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3", "fsdp2"])
def test_adapters_learn_as_in_one_process_and_their_base_stays(run_both, tmp_path, strategy):
    if strategy.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("needs deepspeed")
    first, other = run_both(WORKER, strategy, str(tmp_path), out=tmp_path)
    for found in (first, other):
        # DeepSpeed rounds sums of its own linear layers elsewhere
        rel = 2e-3 if strategy == "zero3" else 1e-5
        for ours, theirs in found["norms"]:
            assert theirs == pytest.approx(ours, rel=rel)
        assert found["exact"] < 1e-2
        assert found["whole"] < 1e-2
        assert "step 3: the gradient's norm is" in found["said"]
        assert found["kept"]
        assert found["apart"]
    assert first["norms"][2][0] < first["norms"][0][0], "it has learned"
    assert first["base"]
    assert first["saved"] > 300
