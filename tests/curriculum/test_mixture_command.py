"""`mmrl mixture`, on run folders that hold what a finished run leaves."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mmrl.cli import run as run_cli
from mmrl.config.dump import dump_run
from mmrl.config.loader import load_run
from mmrl.curriculum.proxies import read_plan

STAGE = """
kind: grpo
model: {family: qwen2_5_omni, tiny: qwen2_5_omni}
data: {train: {toy: {path: rows.jsonl}}, heldout: {toy: {path: heldout.jsonl}}}
optim: {steps: 3}
"""
COUNTS = {"a": 1, "b": 3, "far": 2}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "configs/stage").mkdir(parents=True)
    (tmp_path / "configs/stage/toy.yaml").write_text(STAGE)
    lines = [
        {
            "id": f"{source}{place}",
            "source": source,
            "prompt": [{"role": "user", "content": "?"}],
            "answer": "1",
            "verifier": "exact",
        }
        for source, count in COUNTS.items()
        for place in range(count)
    ]
    (tmp_path / "heldout.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MMRL_PROJECT", raising=False)
    return tmp_path


def mixture(*arguments: str) -> int:
    return run_cli(["mixture", *arguments])


def finish(project: Path, folder: str = "study") -> None:
    """Leave what every run of the plan would: the more of b, the better."""
    plan = read_plan(Path(folder))
    for name, weights in plan.runs.items():
        out = plan.out(name)
        out.mkdir(parents=True, exist_ok=True)
        run = load_run(plan.proxy_arguments(name), project).run
        (out / "config.yaml").write_text(dump_run(run))
        scores = {"a": 0.2, "b": 0.6, "far": 0.1 + 0.5 * weights["b"] - 0.2 * weights["c"]}
        first = {f"eval/task/{task}": 0.0 for task in scores}
        last = {f"eval/task/{task}": score for task, score in scores.items()}
        lines = [{"stage": "toy", "step": 0, **first}, {"stage": "toy", "step": 3, **last}]
        (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (out / "report.json").write_text("{}")


def plan_of_three(capsys) -> list[str]:
    sources = [part for source in "abc" for part in ("--source", source)]
    assert mixture("plan", "study", "stage=toy", "optim.steps=2", *sources) == 0
    return capsys.readouterr().out.splitlines()


def test_a_plan_is_commands_that_train_each_seed_mixture(project, capsys):
    commands = plan_of_three(capsys)
    assert len(commands) == 7
    words = shlex.split(commands[3])
    assert words[:2] == ["mmrl", "train"]
    run = load_run(words[2:], project).run
    stage = run.stages["toy"]
    assert stage.mixture.model_dump() == {
        "kind": "fixed",
        "weights": {"a": 0.0, "b": 0.5, "c": 0.5},
        "exhausted": "repeat",
    }
    assert stage.optim.steps == 2
    assert run.out == Path("study/runs/without_a")
    assert read_plan(Path("study")).runs["all"] == dict.fromkeys("abc", pytest.approx(1 / 3))


def test_scores_weigh_as_many_rows_as_they_were_measured_on(project, capsys):
    plan_of_three(capsys)
    finish(project)
    assert mixture("fit", "study") == 0
    fitted = json.loads(Path("study/fit.json").read_text())
    by_name = {entry["name"]: entry for entry in fitted["mixtures"]}
    assert by_name["only_b"]["in_score"] == pytest.approx((0.2 * 1 + 0.6 * 3) / 4)
    assert by_name["only_b"]["out_score"] == pytest.approx(0.6)
    assert sum(entry["held_back"] for entry in by_name.values()) == 2
    svg = Path("study/prediction.svg").read_text()
    assert svg.startswith("<svg")
    assert all(name in svg for name in by_name)


def test_what_is_suggested_leans_to_what_was_good_and_joins_the_plan(project, capsys):
    plan_of_three(capsys)
    finish(project)
    assert mixture("suggest", "study", "--top", "1") == 0
    line = capsys.readouterr().out.strip()
    shares = dict(part.split() for part in line.partition(": ")[2].split(", "))
    assert float(shares["b"]) > 0.6
    assert float(shares["c"]) < 0.2
    assert mixture("suggest", "study", "--by", "norm", "--add") == 0
    assert mixture("suggest", "study", "--by", "norm", "--add") == 0
    plan = read_plan(Path("study"))
    assert [*plan.runs][-2:] == ["norm", "norm.2"]
    assert plan.runs["norm"]["b"] > plan.runs["norm"]["a"] > plan.runs["norm"]["c"]
    assert capsys.readouterr().out.splitlines()[-1] == plan.command("norm.2")


def test_runs_that_are_not_finished_are_named(project, capsys):
    plan_of_three(capsys)
    assert mixture("fit", "study") == 2
    assert "none of its 7 runs is finished" in capsys.readouterr().err
    finish(project)
    Path("study/runs/only_a/report.json").unlink()
    assert mixture("fit", "study") == 0
    assert "not finished, left out: only_a" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stage=toy", "--source", "a"], "two different sources or more, got a"),
        (["stage=toy"], "name the sources, --source NAME for each"),
        (["stage=toy", "optim.stepz=3", "--source", "a", "--source", "b"], "'optim.steps'"),
    ],
)
def test_a_plan_that_cannot_run_is_refused_before_anything_is_written(
    project, capsys, arguments, said
):
    assert mixture("plan", "study", *arguments) == 2
    assert said in capsys.readouterr().err
    assert not Path("study").exists()


def test_a_plan_is_never_overwritten(project, capsys):
    plan_of_three(capsys)
    assert mixture("plan", "study", "stage=toy", "--source", "a", "--source", "b") == 2
    assert "is there already" in capsys.readouterr().err


def test_a_damaged_plan_is_one_line(project, capsys):
    Path("study").mkdir()
    Path("study/plan.yaml").write_text("sources: [a]\nruns: {x: 3}\n")
    assert mixture("fit", "study") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "study/plan.yaml: not a plan" in lines[0]


def test_no_command_of_it_loads_torch():
    code = "import mmrl.commands.mixture, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
