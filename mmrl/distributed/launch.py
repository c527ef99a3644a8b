"""Starts a node's processes and watches over them: when one is lost, the others end too, and one
line says which it was, what it was doing, and how to go on. No torch is imported here.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mmrl.config.launch import LaunchConfig
from mmrl.config.runs import ASKED, RESOLVED
from mmrl.config.schema import Run
from mmrl.distributed.check import check_machine
from mmrl.distributed.connect import PARENT
from mmrl.distributed.plan import LAUNCH_FOLDER, PORT, launch_files
from mmrl.errors import ProcessError, RunError

_POLL_S = 0.1
_GRACE_S = 5.0


@dataclass(slots=True)
class Child:
    """A process that was started."""

    rank: int
    process: subprocess.Popen[bytes]
    log: IO[bytes] | None
    """Where it writes; the first process of all writes where the launcher does."""


def launch(run: Run, project: Path) -> int:
    """Train in several processes, or hand a batch script in; return the exit code.

    Raises:
        ConfigError: this machine lacks what the launch needs.
        RunError: node 0 has not begun the run; or the batch script is refused.
        ProcessError: a process was lost.
    """
    check_machine(run.launch)
    folder = run.out / LAUNCH_FOLDER
    if run.launch.node_rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in launch_files(run, folder, project).items():
            (folder / name).write_text(text)
    else:
        _await_run(run)
    if run.launch.scheduler == "slurm":
        return _hand_in(folder / "job.sbatch")
    return _watch(run, _start(run, project, folder))


def overrides(launch: LaunchConfig) -> list[str]:
    """The keys of `launch:` as arguments, so that a resumed run may have others than it began
    with.
    """
    from mmrl.config.yaml12 import flow

    values = launch.model_dump()
    return [
        f"launch.{key}={flow(list(v) if isinstance(v, tuple) else v)}" for key, v in values.items()
    ]


def _await_run(run: Run) -> None:
    """Wait until node 0 has written down what is to run."""
    began = time.monotonic()
    while not any((run.out / name).is_file() for name in (ASKED, RESOLVED)):
        if time.monotonic() - began > run.launch.timeout_s:
            raise RunError(
                f"launch.node_rank={run.launch.node_rank}: node 0 has begun no run in {run.out} "
                f"within {run.launch.timeout_s:g} s; all nodes must see that folder"
            )
        time.sleep(1.0)


def _hand_in(script: Path) -> int:
    if shutil.which("sbatch") is None:
        sys.stderr.write(f"mmrl: this machine has no sbatch; hand it in with: sbatch {script}\n")
        return 0
    done = subprocess.run(["sbatch", str(script)], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise RunError(f"launch.scheduler: sbatch {script} was refused: {reason}")
    sys.stderr.write(f"mmrl: {done.stdout.strip()}\n")
    return 0


def _start(run: Run, project: Path, folder: Path) -> list[Child]:
    launch = run.launch
    port = launch.master_port or (PORT if launch.nodes > 1 else _free_port())
    command = [sys.executable, "-m", "mmrl", "--project", str(project), "train"]
    command += [f"resume={run.out}", *overrides(launch)]
    children = []
    for local in range(launch.processes):
        rank = launch.node_rank * launch.processes + local
        environment = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(local),
            "WORLD_SIZE": str(launch.world),
            "LOCAL_WORLD_SIZE": str(launch.processes),
            "MASTER_ADDR": launch.master_address,
            "MASTER_PORT": str(port),
            PARENT: str(os.getpid()),
        }
        # threads of several processes would stand in each other's way
        environment.setdefault("OMP_NUM_THREADS", str(_threads(launch.processes)))
        log = (folder / f"rank-{rank}.log").open("wb") if rank else None
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        children.append(Child(rank, process, log))
    return children


def _watch(run: Run, children: list[Child]) -> int:
    """Wait for all of them; when one fails, end the rest."""
    try:
        while True:
            codes = [child.process.poll() for child in children]
            failed = [child for child, code in zip(children, codes, strict=True) if code]
            if failed:
                _end(children)
                return _report(run, failed[0], children)
            if all(code == 0 for code in codes):
                return 0
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        # the terminal has told the children as well
        _end(children)
        raise
    finally:
        for child in children:
            if child.process.poll() is None:
                child.process.kill()
            if child.log is not None:
                child.log.close()


def _end(children: list[Child]) -> None:
    """Give the others a moment to notice by themselves, then end them."""
    for send in (None, signal.SIGTERM, signal.SIGKILL):
        for child in children:
            if send is not None and child.process.poll() is None:
                child.process.send_signal(send)
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline:
            if all(child.process.poll() is not None for child in children):
                return
            time.sleep(_POLL_S)


def _report(run: Run, failed: Child, children: list[Child]) -> int:
    """Say what happened, unless the first process has said it already."""
    code = failed.process.returncode
    first = children[0]
    own = first.process.returncode
    if first.rank == 0 and own > 0 and own != ProcessError.exit_code:
        return own
    # where several fail, one that was killed, or that knows a reason of its own, is the cause
    for child in children:
        other = child.process.returncode
        if other and other not in (ProcessError.exit_code, -signal.SIGTERM) and child is not first:
            failed, code = child, other
            break
    folder = run.out / LAUNCH_FOLDER
    status = _status(folder, failed)
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    said = _last_line(folder / f"rank-{failed.rank}.log") if code > 0 and failed.rank else ""
    raise ProcessError(
        f"process {failed.rank} of {run.launch.world} {how} ({status})"
        f"{f', saying: {said}' if said else ''}; the others were stopped"
        f"{_elsewhere(folder, children, status)}; go on with: mmrl train resume={run.out}"
    )


def _status(folder: Path, child: Child) -> str:
    return _read(folder / f"rank-{child.rank}.status") or "start"


def _elsewhere(folder: Path, children: list[Child], status: str) -> str:
    """Which processes stood at another place: where all but one wait, that one hangs."""
    apart = [child for child in children if _status(folder, child) != status]
    shown = [f"process {child.rank} ({_status(folder, child)})" for child in apart[:3]]
    return f", {', '.join(shown)} elsewhere" if shown else ""


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in _read(path).splitlines() if line.strip()]
    own = [line.removeprefix("mmrl: ") for line in lines if line.startswith("mmrl: ")]
    return (own or lines or [""])[-1][:300]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _threads(processes: int) -> int:
    return max(1, (os.cpu_count() or 1) // processes)
