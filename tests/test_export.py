"""A checkpoint that is written out is loaded by other programs as it is, and says how it came about."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from mmrl.checkpoint import RunState, save_checkpoint
from mmrl.cli import run as command
from mmrl.compat import make_torchvision_importable
from mmrl.config.runs import RESOLVED
from mmrl.config.schema import ModelConfig
from mmrl.lora import is_adapter_weight
from mmrl.model import load_policy, trainable_parameters

FAMILY = "qwen2_5_vl"
MODEL = {"family": FAMILY, "tiny": FAMILY, "device": "cpu", "threads": 1}


@pytest.fixture
def run_of(tmp_path):
    """A run folder with one checkpoint of a policy."""

    def make(policy, model):
        folder = tmp_path / "run"
        folder.mkdir()
        stage = {
            "kind": "grpo",
            "model": model,
            "optim": {"steps": 5, "lr": 1e-3},
            "algo": {"loss": "dapo", "advantage": "grpo"},
            "data": {"train": {"toy": {"path": "toy.jsonl", "limit": None}}, "heldout": {}},
        }
        config = {"name": "toy", "seed": 3, "stages": {"grpo": stage}}
        (folder / RESOLVED).write_text(yaml.safe_dump(config))
        lines = [{"stage": "grpo", "step": 4, "eval/accuracy/image": 0.25}]
        metrics = "".join(json.dumps(line) + "\n" for line in lines)
        later = json.dumps({"stage": "grpo", "step": 5, "eval/accuracy/image": 0.99})
        (folder / "metrics.jsonl").write_text(metrics + later + "\n")
        packages = {"torch": "2.0", "vllm": None}
        environment = {"python": "3.11", "platform": "here", "gpus": [], "packages": packages}
        (folder / "environment.json").write_text(json.dumps(environment))
        state = RunState(
            stage="grpo",
            step=4,
            finished=False,
            sampler={},
            stop={},
            metrics_bytes=len(metrics),
            rollouts_bytes=0,
            tokens=12,
            rollouts=0,
            unjudged=0,
            sharing="none",
        )
        adamw = torch.optim.AdamW(trainable_parameters(policy.model).values())
        save_checkpoint(folder / "checkpoints", state, policy, adamw, keep=1)
        return folder

    return make


def _logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[5, 60, 70, 80]])).logits


def _adapter_run(run_of):
    lora = {**MODEL, "lora": {"rank": 4}}
    policy = load_policy(ModelConfig.model_validate(lora), seed=3)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if is_adapter_weight(name):
                parameter += 0.1 * torch.randn(parameter.shape)
    return policy, run_of(policy, lora)


def test_whole_weights_load_in_transformers_as_they_are(run_of, tmp_path, capsys):
    make_torchvision_importable()
    from transformers import AutoModelForImageTextToText, AutoProcessor

    policy = load_policy(ModelConfig.model_validate(MODEL), seed=3)
    run, out = run_of(policy, MODEL), tmp_path / "out"
    assert command(["export", str(run), f"out={out}"]) == 0
    assert "the weights of grpo-000004: " in capsys.readouterr().out
    assert not {"state.json", "optimizer.safetensors", "manifest.json"} & {
        path.name for path in out.iterdir()
    }
    found = AutoModelForImageTextToText.from_pretrained(out, dtype=torch.float32)
    assert torch.equal(_logits(found), _logits(policy.model))
    assert AutoProcessor.from_pretrained(out).tokenizer.get_vocab()


def test_an_adapter_is_written_alone_or_merged(run_of, tmp_path):
    from transformers import AutoModelForImageTextToText

    policy, run = _adapter_run(run_of)
    alone, merged = tmp_path / "alone", tmp_path / "merged"
    assert command(["export", str(run), f"out={alone}"]) == 0
    assert command(["export", str(run), f"out={merged}", "merge=true"]) == 0
    assert (alone / "adapter_model.safetensors").exists()
    assert not (alone / "model.safetensors").exists()
    assert not (merged / "adapter_config.json").exists()
    found = AutoModelForImageTextToText.from_pretrained(merged, dtype=torch.float32)
    torch.testing.assert_close(_logits(found), _logits(policy.model), atol=1e-4, rtol=1e-4)
    assert "library_name: peft" in (alone / "README.md").read_text()
    assert "library_name: transformers" in (merged / "README.md").read_text()


def test_the_card_says_what_was_trained_on_what_with_which_result(run_of, tmp_path):
    policy = load_policy(ModelConfig.model_validate(MODEL), seed=3)
    run, out = run_of(policy, MODEL), tmp_path / "out"
    assert command(["export", str(run), f"out={out}"]) == 0
    card = (out / "README.md").read_text()
    assert "| grpo | grpo | 5 | 0.001 | dapo, grpo | - |" in card
    assert "stage grpo, step 4, 12 completion tokens, seed 3" in card
    assert '- grpo, train, toy: `{"path": "toy.jsonl"}`' in card
    assert "| grpo | eval/accuracy/image | 0.25 |" in card, "and not what came later"
    assert "- torch 2.0" in card
    assert "vllm" not in card
    assert yaml.safe_load(card.split("---")[1])["tags"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "out: say where to write"),
        (["out={out}", "merge=true"], "there is no adapter to merge"),
        (["out={out}", "merge=yes"], "merge: true or false, got 'yes'"),
        (["out={out}", "checkpoint=x"], "has no 'x' with weights; there are: grpo-000004"),
        (["out={run}"], "is not empty; give a new folder"),
        (["into={out}"], "there is no such setting; there are: out, checkpoint, merge"),
    ],
)
def test_mistakes_are_one_line(run_of, tmp_path, capsys, settings, message):
    run = run_of(load_policy(ModelConfig.model_validate(MODEL), seed=3), MODEL)
    given = [setting.format(out=tmp_path / "out", run=run) for setting in settings]
    assert command(["export", str(run), *given]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_folder_that_is_no_run_is_one_line(tmp_path, capsys):
    assert command(["export", str(tmp_path), f"out={tmp_path / 'out'}"]) == 2
    assert "no checkpoint with weights" in capsys.readouterr().err
