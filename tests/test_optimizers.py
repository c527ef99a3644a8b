"""Optimizers by `optim.kind`: the same learning with smaller moments, and moments that survive."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import pytest
import torch

from mmrl.checkpoint import RunState, load_optimizer, save_checkpoint
from mmrl.cli import run
from mmrl.config.dump import dump_run
from mmrl.config.loader import load_run
from mmrl.config.schema import MediaConfig, ModelConfig, OptimConfig
from mmrl.errors import ConfigError, RunError
from mmrl.model import Policy, load_policy
from mmrl.optimizers import check_optimizers, load_state, make_optimizer, saved_state
from mmrl.project import default_project
from mmrl.prompt import Prompts
from mmrl.update import Optimizer, Scoring, update_from_responses

MODEL = ModelConfig(family="qwen2_5_omni", tiny="qwen2_5_omni", device="cpu", threads=1)
SCORING = Scoring(temperature=1.0, max_length=64, micro_tokens=10_000, sharing="none")
RESPONSES = [(40, 50, 60), (70, 80)]
needs_bits = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
KINDS = ["adamw", "adamw_fused", pytest.param("adamw_8bit", marks=needs_bits)]


def optim(kind: str) -> OptimConfig:
    return OptimConfig.model_validate(
        {"steps": 10, "lr": 2e-3, "weight_decay": 0.1, "betas": (0.9, 0.95), "kind": kind}
    )


@pytest.fixture(scope="module")
def prompts_B(ask):
    prompts = Prompts(policy=load_policy(MODEL, seed=0), media=MediaConfig(video_fps=4))
    return [prompts(ask("image:a.png", "?", row_id="a")), prompts(ask("audio:a.wav", "?"))]


def learn(policy: Policy, optimizer: Optimizer, prompts_B, steps) -> list[float]:
    return [
        update_from_responses(policy, optimizer, prompts_B, RESPONSES, SCORING, step=step)[
            "policy/loss"
        ]
        for step in steps
    ]


def weights_of(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in policy.model.state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_goes_on_makes_the_same_steps_bit_for_bit(kind, prompts_B, tmp_path):
    straight = load_policy(MODEL, seed=0)
    optimizer = Optimizer(config=optim(kind), policy=straight)
    learn(straight, optimizer, prompts_B, range(2))
    folder = save_checkpoint(tmp_path, _state(), straight, optimizer.adamw, keep=1)
    expected = learn(straight, optimizer, prompts_B, range(2, 4))

    resumed = load_policy(MODEL, seed=9, weights=folder)
    again = Optimizer(config=optim(kind), policy=resumed)
    load_optimizer(folder, resumed, again.adamw)

    assert learn(resumed, again, prompts_B, range(2, 4)) == expected
    for name, weight in weights_of(resumed).items():
        assert torch.equal(weight, straight.model.state_dict()[name]), name


@pytest.mark.parametrize("kind", ["adamw_fused", pytest.param("adamw_8bit", marks=needs_bits)])
def test_it_learns_as_adamw_in_float32_does(kind, prompts_B):
    """Against torch's own: the same curve, and every large weight moved the same way."""
    found, moved = {}, {}
    for one in ("adamw", kind):
        policy = load_policy(MODEL, seed=0)
        before = weights_of(policy)
        found[one] = learn(policy, Optimizer(config=optim(one), policy=policy), prompts_B, range(8))
        after = weights_of(policy)
        moved[one] = torch.cat([(after[name] - before[name]).flatten() for name in before])
    assert found["adamw"][-1] < 0.6 * found["adamw"][0]
    assert found[kind] == pytest.approx(found["adamw"], rel=0.03, abs=0.02)
    assert torch.cosine_similarity(moved["adamw"], moved[kind], dim=0) > 0.97


@needs_bits
def test_eight_bits_are_a_quarter_of_the_memory(prompts_B):
    sizes = {}
    for kind in ("adamw", "adamw_8bit"):
        policy = load_policy(MODEL, seed=0)
        optimizer = Optimizer(config=optim(kind), policy=policy)
        learn(policy, optimizer, prompts_B, range(1))
        moments = policy.strategy.moments(policy.model, optimizer.adamw)
        sizes[kind] = sum(t.nbytes for entries in moments.values() for t in entries.values())
    assert sizes["adamw_8bit"] < 0.28 * sizes["adamw"]


@needs_bits
def test_moments_of_another_kind_are_refused():
    parameter = torch.nn.Parameter(torch.ones(8))
    states = {}
    for kind in ("adamw", "adamw_8bit"):
        optimizer = make_optimizer(optim(kind), [parameter])
        parameter.grad = torch.ones(8)
        optimizer.step()
        states[kind] = saved_state(optimizer.state[parameter])
    for kind, saved in (("adamw", states["adamw_8bit"]), ("adamw_8bit", states["adamw"])):
        with pytest.raises(RunError, match=r"^resume: the moments of w were saved by another kind"):
            load_state(make_optimizer(optim(kind), [parameter]), parameter, saved, name="w")


@pytest.mark.parametrize("kind", ["adamw_8bit", "paged_adamw_8bit"])
def test_what_is_missing_is_one_line_before_anything_is_loaded(kind, monkeypatch):
    asked = load_run(["stage=quickstart/grpo", f"optim.kind={kind}"], default_project()).run
    monkeypatch.setattr("mmrl.optimizers.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs bitsandbytes, .*; pip install .*, or use adamw$"):
        check_optimizers(asked)


def test_pages_need_a_gpu(monkeypatch):
    arguments = ["stage=quickstart/grpo", "optim.kind=paged_adamw_8bit"]
    asked = load_run(arguments, default_project()).run
    monkeypatch.setattr("mmrl.optimizers.find_spec", lambda name: object())
    with pytest.raises(ConfigError, match=r"there is no GPU here; use adamw_8bit$"):
        check_optimizers(asked)


@pytest.mark.parametrize("strategy", ["zero2", "zero3", "fsdp2"])
@pytest.mark.parametrize("kind", ["adamw_fused", "adamw_8bit", "paged_adamw_8bit"])
def test_moments_that_would_be_shared_out_are_refused(strategy, kind):
    launch = ["launch.processes=2", f"launch.strategy={strategy}"]
    with pytest.raises(ConfigError, match=r"optim\.kind: \w+ keeps moments whole") as caught:
        load_run(["stage=quickstart/grpo", f"optim.kind={kind}", *launch], default_project())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("strategy", ["zero2", "zero3", "fsdp2"])
def test_four_bits_are_not_shared_out_either(strategy):
    keys = ["model=qwen2_5_vl_7b", "model.lora.quantize=nf4", "launch.processes=2"]
    with pytest.raises(ConfigError, match=r"lora\.quantize: weights in four bits stay whole"):
        load_run(["stage=geometry3k", *keys, f"launch.strategy={strategy}"], default_project())


def test_a_resumed_run_cannot_be_launched_so_either(tmp_path):
    asked = load_run(["stage=quickstart/grpo", "optim.kind=adamw_8bit"], default_project()).run
    (tmp_path / "config.yaml").write_text(dump_run(asked))
    (tmp_path / "metrics.jsonl").touch()
    launch = ["launch.processes=2", "launch.strategy=zero2"]
    with pytest.raises(ConfigError, match=r"keeps moments whole.*use ddp, or adamw$"):
        load_run([f"resume={tmp_path}", *launch], default_project())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_four_bits_without_a_gpu_are_refused_before_rows_are_made(tmp_path, capsys):
    arguments = ["stage=quickstart/sft", "model=qwen2_5_vl_3b", "model.lora.quantize=nf4"]
    out = tmp_path / "run"
    assert run(["--project", str(default_project()), "train", *arguments, f"out={out}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "model.lora.quantize: nf4 needs" in line
    assert not (out / "data").exists()


def test_every_process_may_hold_them_whole():
    launch = ["launch.processes=2", "launch.strategy=ddp"]
    arguments = ["stage=quickstart/grpo", "optim.kind=adamw_8bit", *launch]
    stage = load_run(arguments, default_project()).run.stages["grpo"]
    assert stage.kind == "grpo"
    assert stage.optim.kind == "adamw_8bit"


@pytest.fixture(autouse=True)
def _quiet_import():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _state() -> RunState:
    return RunState(
        stage="grpo",
        step=2,
        finished=False,
        sampler={},
        stop={},
        metrics_bytes=0,
        rollouts_bytes=0,
        tokens=0,
        rollouts=0,
        unjudged=0,
        sharing="none",
    )
