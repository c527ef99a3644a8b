"""Makes a process one of several, from the environment variables of torchrun, accelerate or mmrl's
own launcher, and watches that it does not outlive or outwait them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from mmrl.config.launch import LaunchConfig
from mmrl.distributed.plan import LAUNCH_FOLDER
from mmrl.distributed.ranks import ALONE, Ranks, is_lost
from mmrl.errors import ConfigError, ProcessError

PARENT = "MMRL_PARENT"
"""The process id of the launcher; without it a process watches no parent."""

_GRACE_S = 15.0


def is_started() -> bool:
    """Whether a launcher has started this process as one of several."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"))


@contextmanager
def connected(launch: LaunchConfig, out: Path) -> Iterator[Ranks]:
    """Be one of the processes while inside; alone where one process was asked for.

    Raises:
        ConfigError: more processes were asked for than have been started.
        ProcessError: the others were not there in time, or one of them is lost while inside.
    """
    if launch.world == 1:
        yield ALONE
        return
    world = int(os.environ["WORLD_SIZE"]) if is_started() else 1
    if world != launch.world:
        raise ConfigError(
            f"launch: {launch.world} processes were asked for, and {world} started; "
            "'mmrl train' starts them all, also under launch.nodes"
        )
    ranks = _connect(launch, out)
    try:
        yield ranks
    except RuntimeError as error:
        if not is_lost(error):
            raise
        raise ProcessError(ranks.lost(error, ranks.timeout_s)) from error
    _disconnect()


def device_type(launch: LaunchConfig) -> str:
    """`cuda` where there are GPUs for the processes, else `cpu`."""
    import torch

    wants = launch.backend != "gloo"
    return "cuda" if wants and torch.cuda.is_available() else "cpu"


def _connect(launch: LaunchConfig, out: Path) -> Ranks:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    folder = out / LAUNCH_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    ranks = Ranks(
        rank=rank,
        count=world,
        timeout_s=launch.timeout_s,
        status=folder / f"rank-{rank}.status",
    )
    ranks.begin("start")
    _watch(ranks)
    # set by accelerate launch: transformers would then load weights in one process only
    os.environ.pop("ACCELERATE_USE_FSDP", None)
    if launch.strategy in ("zero2", "zero3") and device_type(launch) == "cpu":
        # read when DeepSpeed is imported, which else looks for the first device it knows
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import torch
    import torch.distributed as dist

    if device_type(launch) == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"launch.processes: process {local} of this node has no GPU of its own, there are "
                f"{torch.cuda.device_count()}; use launch.backend=gloo to train on CPUs"
            )
        torch.cuda.set_device(local)
    elif launch.backend == "nccl":
        raise ConfigError("launch.backend: nccl needs GPUs, and torch sees none; use gloo")
    # values travel on the CPU in any case, tensors where they are
    backend = "cpu:gloo,cuda:nccl" if device_type(launch) == "cuda" else "gloo"
    with ranks.waiting("meeting the other processes"):
        dist.init_process_group(backend, timeout=timedelta(seconds=launch.timeout_s))
    ranks._store = dist.distributed_c10d._get_default_store()
    ranks.gather(None, "meeting the other processes")
    return ranks


def _disconnect() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def _watch(ranks: Ranks) -> None:
    """End this process when the launcher is gone, or when an exchange outlasts its limit: not
    every backend raises an error then.
    """
    parent = int(os.environ.get(PARENT, "0"))

    def watch() -> None:
        while True:
            time.sleep(1.0)
            since = ranks.waits_since
            waited = 0.0 if since is None else time.monotonic() - since
            if waited > ranks.timeout_s + _GRACE_S:
                _end(ranks.lost(None, waited))
            if parent and os.getppid() != parent:
                _end(f"process {ranks.rank}: the launcher is gone, so this process ends too")

    threading.Thread(target=watch, daemon=True).start()


def _end(message: str) -> None:
    sys.stderr.write(f"mmrl: {message}\n")
    sys.stderr.flush()
    os._exit(ProcessError.exit_code)
