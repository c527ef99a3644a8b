"""Two processes over gloo are one: the same rollouts, losses and gradients, whatever media each of
them has, and whatever is frozen.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.distributed

EXACT = ("completion/length", "reward/mean", "media/decoded", "tokens", "completion/count")
STRATEGIES = ["ddp", "zero2", "zero3", "fsdp2"]


def _two(strategy: str, timeout_s: float = 60) -> list[str]:
    if strategy.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("needs deepspeed")
    return ["launch.processes=2", f"launch.strategy={strategy}", f"launch.timeout_s={timeout_s}"]


def _metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _same(one: Path, other: Path) -> None:
    """Every number of every step, those of sampling exactly, gradients within 1e-4."""
    pairs = list(zip(_metrics(one), _metrics(other), strict=True))
    assert len(pairs) == 6
    for ours, theirs in pairs:
        assert ours.keys() == theirs.keys()
        for key in ours:
            if key in EXACT or isinstance(ours[key], str):
                assert ours[key] == theirs[key], key
            else:
                assert theirs[key] == pytest.approx(ours[key], rel=1e-4, abs=1e-6), key
    assert pairs[1][0]["optim/grad_norm"] > 0
    names = ("row", "completion", "advantage", "media_key")
    texts = [
        [{key: json.loads(line)[key] for key in names} for line in lines]
        for lines in ((run / "rollouts.jsonl").read_text().splitlines() for run in (one, other))
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("stage", ["free", "frozen"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_with_different_media_are_one(train, alone, strategy, stage):
    run = train(f"stage={stage}", *_two(strategy))
    _same(alone[stage], run)
    clocks = [json.loads(line) for line in (run / "timings.jsonl").read_text().splitlines()]
    steps = [line for line in clocks if "idle_frac" in line]
    assert len(steps) == 4
    assert all(0 <= line["idle_frac"] <= 1 and line["rank1/sample_s"] > 0 for line in steps)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_that_lost_a_process_says_so_and_goes_on_to_the_same_end(
    start, train, tmp_path, strategy
):
    unbroken = train("stage=free", *_two(strategy))
    out = tmp_path / "run"
    process = start("stage=free", f"out={out}", *_two(strategy))
    _wait_for(out / "checkpoints" / "free-000001" / "manifest.json", process)
    _kill_rank(process.pid, rank=1)
    began = time.monotonic()
    text, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 60
    assert process.returncode == 3
    last = [line for line in text.splitlines() if line.startswith("mmrl: ")][-1]
    assert "process 1 of 2 was killed by SIGKILL (stage free" in last
    assert last.endswith(f"go on with: mmrl train resume={out}")
    train(f"resume={out}", out=out)
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        assert (out / name).read_bytes() == (unbroken / name).read_bytes()
    final = Path("checkpoints") / "free-000004-final" / "model.safetensors"
    assert (out / final).read_bytes() == (unbroken / final).read_bytes()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_go_on_as_one(start, train, alone, tmp_path, strategy):
    out = tmp_path / "run"
    process = start("stage=free", f"out={out}", *_two(strategy))
    _wait_for(out / "checkpoints" / "free-000001" / "manifest.json", process)
    _kill_rank(process.pid, rank=0)
    process.communicate(timeout=60)
    train(f"resume={out}", "launch=local", out=out)
    _same(alone["free"], out)


def test_a_process_that_hangs_is_an_error_with_its_name_and_phase(start, tmp_path):
    out = tmp_path / "run"
    process = start("stage=free", f"out={out}", *_two("ddp", timeout_s=5))
    _wait_for(out / "checkpoints" / "free-000001" / "manifest.json", process)
    _kill_rank(process.pid, rank=1, with_signal=signal.SIGSTOP)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    said = [
        line for line in text.splitlines() if line.startswith("mmrl: process 0 of 2, stage free")
    ]
    assert said
    assert "did not answer" in said[0]


def _wait_for(path: Path, process) -> None:
    deadline = time.monotonic() + 200
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _kill_rank(launcher: int, *, rank: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in environment:
            os.kill(int(child), with_signal)
            return
    raise AssertionError("there is no such process")
