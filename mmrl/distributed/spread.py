"""Chooses how a stage's weights are spread over the processes, by `launch.strategy`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.config.launch import LaunchConfig
from mmrl.distributed.ranks import Ranks
from mmrl.distributed.stand_ins import build_stand_ins
from mmrl.distributed.strategy import Replicated, Strategy
from mmrl.errors import ConfigError
from mmrl.model import Policy
from mmrl.prompt import Prompts
from mmrl.types import Row

if TYPE_CHECKING:
    import torch

_SHARED_OUT = ("zero2", "zero3", "fsdp2")


def is_shared_out(launch: LaunchConfig) -> bool:
    """Whether no process ever holds all weights, so that a policy is built without any and given
    its parts.
    """
    return launch.strategy in ("zero3", "fsdp2")


def check_gathered(needed: float, has: float, name: str) -> None:
    """Refuse to sample with a model that a GPU cannot hold.

    Args:
        needed: Bytes of all weights.
        has: Bytes of a GPU.
        name: The stage.

    Raises:
        ConfigError: it does not fit.
    """
    if needed > has:
        raise ConfigError(
            f"stage {name}: rollout.engine: hf gathers all weights, {needed / 2**30:.0f} GiB, on "
            f"every GPU to sample, and one has {has / 2**30:.0f} GiB; use rollout.engine=vllm"
        )


def spread(
    policy: Policy,
    launch: LaunchConfig,
    ranks: Ranks,
    *,
    load: Callable[[], Policy],
    device: torch.device,
) -> Policy:
    """The policy with its weights spread; where it has none, `load` gives the same one with weights
    on the CPU, and they are put on the device.
    """
    if launch.strategy not in _SHARED_OUT:
        return replace(policy, strategy=Replicated(ranks=ranks))
    strategy: Strategy
    if launch.strategy == "fsdp2":
        from mmrl.distributed.fsdp import FullyShared

        strategy = FullyShared(ranks=ranks, offload=launch.offload == "all")
    else:
        from mmrl.distributed.zero import Zero

        strategy = Zero(
            ranks=ranks,
            stage=2 if launch.strategy == "zero2" else 3,
            dtype="float32" if policy.dtype.itemsize == 4 else "bfloat16",
            offload=launch.offload,
        )
    source = None
    if policy.device.type == "meta":
        from mmrl.distributed.source import Source

        source = Source(ranks=ranks, device=device, load=load)
        source.open()
    strategy.prepare(policy.model, source)
    if source is not None:
        source.close()
    return replace(policy, strategy=strategy)


def keep_step(
    policies: Sequence[Policy], prompts: Prompts, rows: Sequence[Row], folder: Path
) -> None:
    """Give policies what stands in for media that a process lacks; `rows` are those that they will
    meet.
    """
    spread_ones: list[Any] = [
        policy.strategy for policy in policies if not isinstance(policy.strategy, Replicated)
    ]
    if not spread_ones:
        return
    stand_ins = spread_ones[0].ranks.in_turn(
        lambda: build_stand_ins(prompts, rows, folder / "data" / "stand_ins"), "stand-ins: making"
    )
    for strategy in spread_ones:
        strategy.stand_ins = stand_ins
