"""Benchmarks that a stage names are answered every N steps and at the end, and resumed exactly."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from mmrl.cli import run as run_cli
from mmrl.config.loader import load_run
from mmrl.curriculum.runner import train
from mmrl.screen import Screen

FIXTURES = Path(__file__).parent / "fixtures"
STAGE = f"""
kind: sft
model: {{family: qwen2_5_omni, tiny: qwen2_5_omni, device: cpu, threads: 1}}
data: {{train: {{toy: {{path: ROWS}}}}}}
optim: {{steps: 4, lr: 1.0e-3, batch_size: 2}}
rollout: {{max_new_tokens: 3}}
checkpoint: {{every: 2, keep: 4}}
eval:
  every: 2
  batch_size: 4
  benchmarks:
    mathvista: {{path: {FIXTURES / "mathvista"}, limit: 4}}
    seed_bench_r1: {{path: {FIXTURES / "seed_bench_r1"}, split: validation_L1, max_new_tokens: 2}}
"""


@pytest.fixture
def project(tmp_path, media_folder):
    row = {
        "id": "1",
        "source": "toy",
        "prompt": [
            {"role": "user", "content": [{"type": "image", "image": str(media_folder / "a.png")}]}
        ],
        "answer": "3",
        "verifier": "exact",
        "response": "<think>x</think><answer>3</answer>",
    }
    lines = [json.dumps({**row, "id": str(number)}) + "\n" for number in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    (tmp_path / "configs" / "stage").mkdir(parents=True)
    stage = STAGE.replace("ROWS", str(tmp_path / "rows.jsonl"))
    (tmp_path / "configs" / "stage" / "toy.yaml").write_text(stage)
    return tmp_path


def _train(project, *arguments):
    loaded = load_run(arguments, project)
    return train(loaded, Screen(console=Console(file=io.StringIO())))


def _numbers(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        line["step"]: {
            key: value for key, value in line.items() if key.startswith("eval/benchmark/")
        }
        for line in lines
        if any(key.startswith("eval/benchmark/") for key in line)
    }


def test_a_stage_answers_its_benchmarks_at_the_start_every_so_many_steps_and_at_the_end(project):
    out = _train(project, "stage=toy", f"out={project / 'run'}")
    numbers = _numbers(out)
    assert list(numbers) == [0, 2, 4]
    names = {f"eval/benchmark/mathvista/{mode}" for mode in ("official", "strict")}
    modes = ("official", "grpo_care", "strict", "lenient")
    names |= {f"eval/benchmark/seed_bench_r1/{mode}" for mode in modes}
    for step, found in numbers.items():
        assert set(found) == names
        results = json.loads((out / "eval" / f"toy-{step:06d}" / "results.json").read_text())
        assert results["tasks"]["mathvista"]["items"] == 4
        assert results["tasks"]["seed_bench_r1"]["sampling"]["max_new_tokens"] == 2
    # killed after the second evaluation, it comes to the same numbers
    shutil.copytree(out, project / "killed")
    shutil.rmtree(project / "killed" / "checkpoints" / "toy-000004-final")
    again = _train(project, f"resume={project / 'killed'}")
    assert (again / "metrics.jsonl").read_bytes() == (out / "metrics.jsonl").read_bytes()
    for name in ("samples.jsonl", "results.json"):
        old, new = (folder / "eval" / "toy-000004" / name for folder in (out, again))
        assert old.read_bytes() == new.read_bytes()
    # what the weights answer in training is what they answer as a checkpoint
    checkpoint = out / "checkpoints" / "toy-000004-final"
    code = run_cli(
        [
            "eval",
            "tasks=mathvista",
            f"data={FIXTURES / 'mathvista'}",
            "limit=4",
            f"model={checkpoint}",
            "model.threads=1",
            "max_new_tokens=3",
            f"out={project / 'evaluated'}",
        ]
    )
    assert code == 0
    during = [json.loads(line) for line in (out / "eval/toy-000004/samples.jsonl").open()]
    after = [json.loads(line) for line in (project / "evaluated/samples.jsonl").open()]
    assert [line["response"] for line in after] == [
        line["response"] for line in during if line["task"] == "mathvista"
    ]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("eval.benchmarks.mathvisto.limit=1", "did you mean 'mathvista'"),
        ("eval.benchmarks.mathvista.path=nowhere", "there is no file or folder nowhere"),
        ("eval.benchmarks.mathvista.split=val", "has no split 'val'"),
    ],
)
def test_a_benchmark_that_cannot_be_run_is_a_mistake_of_the_configuration(
    project, capsys, argument, message
):
    code = run_cli(["--project", str(project), "train", "stage=toy", "--dry-run", argument])
    assert code == 2
    assert message in capsys.readouterr().err
