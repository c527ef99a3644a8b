"""A process that is lost ends the others with one line, wherever it was, and the run goes on to the
same end: as it was launched, or otherwise.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.distributed


@pytest.mark.parametrize(
    ("strategy", "rank", "phase"),
    [
        ("ddp", 0, "judging"),
        ("zero2", 1, "updating"),
        ("zero3", 1, "sampling"),
        ("fsdp2", 0, "saving"),
    ],
)
def test_a_run_that_lost_a_process_says_so_and_goes_on_to_the_same_end(
    start, train, two, unbroken, tmp_path, strategy, rank, phase
):
    out, marks = tmp_path / "run", tmp_path / "marks"
    marks.mkdir()
    process = start("stage=free", f"out={out}", *two(strategy), MARKS=str(marks))
    _wait_for_phase(phase, out, marks, rank, process)
    children = _ranks(process.pid)
    os.kill(children[rank], signal.SIGKILL)
    (marks / "hold").unlink(missing_ok=True)
    began = time.monotonic()
    text, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 60
    assert process.returncode == 3
    last = [line for line in text.splitlines() if line.startswith("mmrl: ")][-1]
    assert f"process {rank} of 2 was killed by SIGKILL (stage free" in last
    assert last.endswith(f"go on with: mmrl train resume={out}")
    assert not any(map(_lives, children.values()))
    train(f"resume={out}", out=out)
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        assert (out / name).read_bytes() == (unbroken(strategy) / name).read_bytes()
    final = Path("checkpoints") / "free-000003-final"
    for name in ("model.safetensors", "optimizer.safetensors"):
        saved = (out / final / name).read_bytes()
        assert saved == (unbroken(strategy) / final / name).read_bytes()


@pytest.mark.parametrize(
    "launches", [("zero2", "zero3", ""), ("", "fsdp2")], ids=lambda names: "-".join(names)
)
def test_a_run_goes_on_with_other_processes_and_another_strategy(
    start, train, two, alone, tmp_path, launches
):
    out, begun = tmp_path / "run", ["stage=free", f"out={tmp_path / 'run'}"]
    *killed, last = (two(name) if name else ["launch=local"] for name in launches)
    for step, launch in enumerate(killed, 1):
        process = start(*begun, *launch)
        _wait_for(out / "checkpoints" / f"free-00000{step}" / "manifest.json", process)
        os.kill(_ranks(process.pid).get(0, process.pid), signal.SIGKILL)
        process.communicate(timeout=60)
        begun = [f"resume={out}"]
    train(*begun, *last, out=out)
    for ours, theirs in zip(_metrics(alone), _metrics(out), strict=True):
        assert (theirs.pop("stage"), theirs.keys()) == (ours.pop("stage"), ours.keys())
        assert theirs == pytest.approx(ours, rel=1e-4, abs=1e-6)


def test_a_process_that_hangs_is_an_error_with_its_name_and_phase(start, two, tmp_path):
    out = tmp_path / "run"
    process = start("stage=free", f"out={out}", *two("ddp", timeout_s=5))
    _wait_for(out / "checkpoints" / "free-000001" / "manifest.json", process)
    children = _ranks(process.pid)
    os.kill(children[1], signal.SIGSTOP)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    said = [
        line for line in text.splitlines() if line.startswith("mmrl: process 0 of 2, stage free")
    ]
    assert said
    assert "did not answer" in said[0]
    assert not any(map(_lives, children.values()))


def test_ctrl_c_ends_all_processes(start, two, tmp_path):
    out = tmp_path / "run"
    process = start("stage=free", f"out={out}", *two("ddp"))
    _wait_for(out / "checkpoints" / "free-000001" / "manifest.json", process)
    children = _ranks(process.pid)
    # a terminal tells the whole group
    os.killpg(process.pid, signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"mmrl: stopped; go on with: mmrl train resume={out}" in text
    assert "Traceback" not in text
    assert not any(map(_lives, children.values()))


def test_processes_do_not_outlive_the_one_that_started_them(start, two, tmp_path):
    out = tmp_path / "run"
    process = start("stage=free", f"out={out}", "optim.steps=500", *two("ddp"))
    _wait_for(out / "checkpoints" / "free-000001" / "manifest.json", process)
    children = _ranks(process.pid)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while any(map(_lives, children.values())):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _wait_for_phase(phase: str, out: Path, marks: Path, rank: int, process) -> None:
    """Wait until a process is at a point of the second step or of its saving."""
    done = out / "checkpoints" / "free-000001" / "manifest.json"
    _wait_for(done, process)
    if phase == "judging":
        (marks / "hold").touch()
        for mark in marks.glob("judging-*"):
            mark.unlink()
        _wait_for(marks / f"judging-{rank}", process)
    elif phase == "updating":
        status = out / "launch" / f"rank-{rank}.status"
        _wait_until(lambda: "backward pass" in status.read_text(), process)
    elif phase == "saving":
        _wait_until(lambda: any(out.glob("checkpoints/.writing-free-00000[23]*")), process)


def _wait_for(path: Path, process) -> None:
    _wait_until(path.exists, process)


def _wait_until(happens: Callable[[], bool], process) -> None:
    deadline = time.monotonic() + 200
    while not happens():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _ranks(launcher: int) -> dict[int, int]:
    """The process ids of the launcher's children, by rank."""
    found = {}
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        for entry in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            if entry.startswith(b"RANK="):
                found[int(entry[5:])] = int(child)
    return found


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
