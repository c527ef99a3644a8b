"""A run that was killed anywhere and resumed is, byte for byte, the run that was never stopped."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import mmrl.ahead
import mmrl.checkpoint
import mmrl.curriculum.runner
import mmrl.trainer
from mmrl.cli import run as run_cli
from mmrl.config.loader import load_run
from mmrl.curriculum.runner import train
from mmrl.errors import RunError
from mmrl.screen import Screen

PARTS = (["image:a.png"], ["video:a.mp4"], ["audio:a.wav"], [], ["image:b.png", "audio:b.wav"])
STAGE = """
model: {family: qwen2_5_omni, tiny: qwen2_5_omni, device: cpu, threads: 1}
media: {video_fps: 4}
data: {train: {toy: {path: %(rows)s}}, heldout: {toy: {path: %(heldout)s}}}
checkpoint: {every: 2, keep: 1}
"""
SFT = "kind: sft\noptim: {steps: 6, lr: 1.0e-2, batch_size: 2}\nrollout: {max_new_tokens: 8}\n"
GRPO = """
kind: grpo
optim: {steps: 6, lr: 1.0e-3}
rollout: {prompts_per_step: 2, group_size: 4, max_new_tokens: 8}
algo: {loss: grpo, minibatches: 2, epochs: 2, kl_weight: 0.01}
eval: {every: 3}
rewards: {terms: {accuracy: {weight: {0.0: 0.5, 0.5: 0.9}}, format: {name: think_answer}}}
"""


FOLDERS = ["cold-000004", "cold-000006-final", "warm-000004", "warm-000006-final"]


class Killed(BaseException):
    """What the process dies of, as far as the code inside it can tell."""


@pytest.fixture(scope="module")
def project(tmp_path_factory, media_folder) -> Path:
    """A project with a cold start and GRPO over five rows, so that epochs end amid steps."""
    folder = tmp_path_factory.mktemp("project")
    for name, count in (("rows", 5), ("heldout", 3)):
        lines = [json.dumps(_raw(place, media_folder)) + "\n" for place in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    stage = STAGE % {"rows": folder / "rows.jsonl", "heldout": folder / "heldout.jsonl"}
    configs = folder / "configs"
    for name, text in {
        "stage/cold.yaml": SFT + stage,
        "stage/warm.yaml": GRPO + stage,
        "curriculum/both.yaml": "stages: {cold: {stage: cold}, warm: {stage: warm}}\n",
    }.items():
        (configs / name).parent.mkdir(parents=True, exist_ok=True)
        (configs / name).write_text(text)
    return folder


def _raw(place: int, media: Path) -> dict[str, object]:
    parts = [part.split(":") for part in PARTS[place]]
    content = [{"type": kind, kind: str(media / name)} for kind, name in parts]
    return {
        "id": f"r{place}",
        "reward": {"format": 1.0},
        "source": "toy",
        "prompt": [{"role": "user", "content": [*content, {"type": "text", "text": "how many?"}]}],
        "answer": str(place % 2),
        "verifier": "exact",
        "response": f"<think>a</think><answer>{place % 2}</answer>",
    }


@pytest.fixture(scope="module")
def go(project: Path) -> Callable[..., Path]:
    """Train in this process."""

    def go(*arguments: str) -> Path:
        screen = Screen(console=Console(file=io.StringIO()))
        return train(load_run(["curriculum=both", *arguments], project), screen)

    return go


@pytest.fixture(scope="module")
def unbroken(go, tmp_path_factory) -> Path:
    return go(f"out={tmp_path_factory.mktemp('unbroken') / 'run'}")


@pytest.fixture(scope="module")
def cold(go, tmp_path_factory) -> Path:
    """A run that was killed between its two stages."""
    out = tmp_path_factory.mktemp("cold") / "run"
    _kill(go, out, mmrl.curriculum.runner, "save", 1, "after")
    return out


def _same(one: Path, other: Path) -> None:
    """Logs, weights, moments and counters are the same bytes."""
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for stage in ("cold", "warm"):
        for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
            file = Path("checkpoints") / f"{stage}-000006-final" / name
            assert (one / file).read_bytes() == (other / file).read_bytes(), file
    assert _kept(other) == FOLDERS


def _kept(run: Path) -> list[str]:
    return sorted(folder.name for folder in (run / "checkpoints").iterdir())


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_run_learns_from_its_rollouts_across_epochs(unbroken):
    """What the tests below compare is not empty."""
    rollouts = _lines(unbroken / "rollouts.jsonl")
    assert len(rollouts) == 6 * 2 * 4
    assert any(rollout["advantage"] for rollout in rollouts)
    steps = [line for line in _lines(unbroken / "metrics.jsonl") if "policy/loss" in line]
    assert [(line["stage"], line["step"]) for line in steps] == [
        (stage, step) for stage in ("cold", "warm") for step in range(1, 7)
    ]
    assert sum(line["optim/grad_norm"] > 0 for line in steps) > 8
    gaps = [line["policy/sampling_gap"] for line in steps if "policy/sampling_gap" in line]
    assert gaps
    assert max(gaps) < 1e-4
    assert len({line["row"] for line in rollouts[:40]}) == 5
    tokens = [line["tokens"] for line in steps]
    assert tokens == sorted(tokens)
    assert _kept(unbroken) == FOLDERS


COLD = {
    "in the first evaluation": (mmrl.trainer, "evaluate", 1, "before"),
    "with weights changed and nothing logged": (mmrl.trainer, "update_from_responses", 1, "after"),
    "in the first checkpoint": (mmrl.checkpoint, "_save_moments", 1, "before"),
    "where an epoch ends": (mmrl.trainer, "update_from_responses", 3, "before"),
    "in the evaluation at the end": (mmrl.trainer, "evaluate", 1, "after"),
}
WRITING = {
    "half written": (mmrl.checkpoint, "_save_moments", 1, "after"),
    "whole, and not yet named": (mmrl.checkpoint, "sync", 8, "before"),
    "named": (mmrl.checkpoint, "_prune", 1, "before"),
    "while the one before is deleted": (shutil, "rmtree", 2, "before"),
    "the final one, half written": (mmrl.checkpoint, "_save_moments", 1, "before"),
    "the final one, named": (mmrl.checkpoint, "_prune", 1, "after"),
}
WARM = {
    "before the first rollouts": (mmrl.ahead, "drawing", 1, "before"),
    "with rollouts sampled": (mmrl.ahead, "judge", 2, "before"),
    "with weights changed and nothing logged": (mmrl.trainer, "mean_metrics", 2, "before"),
    "with rollouts logged and no metrics": (mmrl.trainer, "end_step", 1, "before"),
    "after a step without a checkpoint": (mmrl.trainer, "end_step", 3, "after"),
    "in the evaluation amid the stage": (mmrl.trainer, "evaluate", 1, "after"),
    "with the last step done": (mmrl.trainer, "end_step", 4, "after"),
    "in the evaluation at the end": (mmrl.curriculum.runner, "evaluate_heldout", 1, "after"),
    "in the last checkpoint": (mmrl.checkpoint, "_save_moments", 1, "after"),
    "before the report": (mmrl.curriculum.runner, "write_report", 1, "before"),
}


def test_a_cold_start_killed_again_and_again_goes_on(go, unbroken, tmp_path):
    for moment in COLD.values():
        _kill(go, tmp_path / "run", *moment)
    go("resume=auto", f"out={tmp_path / 'run'}")
    _same(unbroken, tmp_path / "run")


def test_grpo_killed_again_and_again_goes_on(go, cold, unbroken, tmp_path):
    out = shutil.copytree(cold, tmp_path / "run")
    for moment in WARM.values():
        _kill(go, out, *moment)
    go("resume=auto", f"out={out}")
    _same(unbroken, out)


def test_a_run_killed_amid_its_checkpoints_goes_on(go, cold, unbroken, tmp_path):
    out = shutil.copytree(cold, tmp_path / "run")
    for moment in WRITING.values():
        _kill(go, out, *moment)
    go("resume=auto", f"out={out}")
    _same(unbroken, out)


def _kill(go, out: Path, module, name: str, count: int, when: str) -> None:
    """Go on in a run, or start it, and let it die at a moment."""
    with pytest.MonkeyPatch.context() as patch:
        _die(patch, module, name, count, when)
        with pytest.raises(Killed):
            go("resume=auto", f"out={out}")


def _die(patch: pytest.MonkeyPatch, module, name: str, count: int, when: str) -> None:
    """Raise Killed at the `count`-th call of a function, before or after it did its work."""
    original = getattr(module, name)
    calls = 0

    def dying(*arguments, **keywords):
        nonlocal calls
        calls += 1
        if calls == count and when == "before":
            raise Killed
        result = original(*arguments, **keywords)
        if calls == count:
            raise Killed
        return result

    patch.setattr(module, name, dying)


def test_sigkill_loses_nothing(project, unbroken, tmp_path, go):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "mmrl", "--project", str(project), "train"]
    root = Path(__file__).resolve().parents[1]
    said = tmp_path / "said"
    with said.open("wb") as file:
        child = subprocess.Popen(
            [*command, "curriculum=both", f"out={out}"], cwd=root, stdout=file, stderr=file
        )
    metrics = out / "metrics.jsonl"
    try:
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 10):
            assert child.poll() is None, said.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (out / "report.json").exists()
    go("resume=auto", f"out={out}")
    _same(unbroken, out)


def test_resuming_a_finished_run_only_writes_the_report_again(unbroken, project, tmp_path):
    out = shutil.copytree(unbroken, tmp_path / "run")
    (out / "report.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (out / "checkpoints").rglob("*")}
    screen = Screen(console=Console(file=io.StringIO()))
    assert train(load_run([f"resume={out}"], project), screen) == out
    assert {path: path.stat().st_mtime_ns for path in (out / "checkpoints").rglob("*")} == before
    assert (out / "report.json").exists()
    _same(unbroken, out)


def test_a_broken_checkpoint_is_passed_over_for_the_one_before(go, cold, unbroken, tmp_path):
    out = shutil.copytree(cold, tmp_path / "run")
    _kill(go, out, mmrl.trainer, "end_step", 3, "before")
    assert _kept(out) == ["cold-000004", "cold-000006-final", "warm-000002"]
    weights = out / "checkpoints/warm-000002/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    go("resume=auto", f"out={out}")
    _same(unbroken, out)


def test_a_second_process_is_refused_and_a_dead_one_is_not(go, tmp_path):
    out = tmp_path / "run"
    code = (
        "import sys, time; from pathlib import Path; from mmrl.run_folder import RunFolder; "
        "folder = RunFolder(path=Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(out)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[1],
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match="is being written by another run"):
            go(f"out={out}")
    finally:
        holder.kill()
        holder.wait()
    _kill(go, out, mmrl.trainer, "evaluate", 1, "before")


def test_another_configuration_does_not_go_on(unbroken, project, capsys):
    asked = [f"out={unbroken}", "resume=auto", "stages.warm.optim.lr=1e-4"]
    assert run_cli(["--project", str(project), "train", "curriculum=both", *asked]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "stages.warm.optim.lr: 0.001 in" in lines[0]
    assert all(line.startswith("mmrl: ") for line in lines)
    assert run_cli(["--project", str(project), "train", "curriculum=both", asked[0]]) == 2
    assert "already holds a run; continue it with resume=auto" in capsys.readouterr().err
