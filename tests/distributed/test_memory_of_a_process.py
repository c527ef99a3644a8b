"""Where weights are shared out, only the first process ever holds a whole model, on its CPU: not
when it is loaded, scored, saved or handed to another engine.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from mmrl.config.schema import ModelConfig, OptimConfig
from mmrl.model import load_policy, trainable_parameters
from mmrl.update import Optimizer
from mmrl.weights import whole_weights

pytestmark = pytest.mark.distributed

WORKER = Path(__file__).with_name("memory_worker.py")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A Qwen2.5-VL of 45 million random parameters, 180 MB, in twelve layers."""
    folder = tmp_path_factory.mktemp("saved")
    tiny = load_policy(ModelConfig(family="qwen2_5_vl", tiny="qwen2_5_vl", device="cpu"), seed=0)
    values = tiny.model.config.to_dict()
    values["text_config"] |= {
        "hidden_size": 512,
        "intermediate_size": 1920,
        "num_hidden_layers": 12,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "layer_types": None,
    }
    values["vision_config"] |= {"out_hidden_size": 512}
    torch.manual_seed(0)
    model = type(tiny.model)(type(tiny.model.config)(**values))
    model.save_pretrained(folder)
    tiny.processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("strategy", ["zero3", "fsdp2"])
def test_no_process_but_the_first_ever_holds_the_whole_model(run_both, saved, tmp_path, strategy):
    if strategy == "zero3" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("needs deepspeed")
    first, other = run_both(WORKER, str(saved), strategy, str(tmp_path), out=tmp_path)
    config = ModelConfig(family="qwen2_5_vl", path=str(saved), device="cpu", threads=1)
    policy = load_policy(config, seed=0)
    whole = 4 * sum(p.numel() for p in policy.model.parameters())
    assert whole > 150e6
    peaks = {name: peak / whole for name, peak in other["peaks"].items()}
    # its half, and a layer or two on the way
    assert peaks["load"] < 0.8, peaks
    for phase in ("score", "moments", "weights", "sync"):
        assert peaks[phase] < 0.3, (phase, peaks)
    # measured alike where there is a whole model
    assert first["peaks"]["load"] > 0.9 * whole
    assert first["peaks"]["weights"] > 0.9 * whole
    _same_as_one_process(policy, first, other)


def _same_as_one_process(policy, first, other) -> None:
    ids = torch.arange(100, 124)[None]
    optim = OptimConfig.model_validate({"lr": 1e-3, "steps": 1})
    optimizer = Optimizer(config=optim, policy=policy)
    with torch.no_grad():
        before = policy(input_ids=ids).logits[0, -1]
    scores = policy(input_ids=ids).logits.log_softmax(-1)
    policy.strategy.backward(-scores[..., 1].mean())
    learned = sum(
        p.numel() for p in trainable_parameters(policy.model).values() if p.grad is not None
    )
    norm = optimizer.step(0)["optim/grad_norm"]
    with torch.no_grad():
        after = policy(input_ids=ids).logits[0, -1]
    assert not torch.allclose(before, after, atol=1e-1)
    for found in (first, other):
        assert found["norm"] == pytest.approx(norm, rel=1e-4)
        torch.testing.assert_close(torch.tensor(found["before"]), before, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(torch.tensor(found["after"]), after, rtol=1e-2, atol=1e-2)
    sums = {name: float(weight.double().sum()) for name, weight in whole_weights(policy)}
    assert other["weights"] == {}
    assert other["moments"] == 0
    assert first["moments"] >= 2 * learned
    for found in (first["synced"], other["synced"]):
        assert found == pytest.approx(sums, rel=1e-4, abs=1e-2)
    assert {name: first["weights"][name] for name in sums} == pytest.approx(first["synced"])
