"""Chooses how a stage's weights are spread over the processes, by `launch.strategy`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from mmrl.config.launch import LaunchConfig
from mmrl.config.schema import GrpoStage, Run
from mmrl.distributed.ranks import Ranks
from mmrl.distributed.stand_ins import build_stand_ins
from mmrl.distributed.strategy import Replicated, Strategy
from mmrl.errors import ConfigError
from mmrl.model import Policy
from mmrl.prompt import Prompts
from mmrl.types import Row

_SHARED_OUT = ("zero2", "zero3", "fsdp2")


def check_strategy(run: Run) -> None:
    """Refuse what the strategy cannot do, before anything is loaded.

    Raises:
        ConfigError: a package is missing, or a stage needs gradients that no process holds whole.
    """
    strategy = run.launch.strategy
    if strategy in ("zero2", "zero3") and find_spec("deepspeed") is None:
        raise ConfigError(
            f"launch.strategy: {strategy} needs DeepSpeed; "
            "pip install 'mmrl-toolkit[deepspeed]', or use ddp or fsdp2"
        )
    for name, stage in run.stages.items():
        imitation = stage.algo.imitation if isinstance(stage, GrpoStage) else None
        measured = imitation and imitation.adapt and imitation.adapt.gain_every
        if measured and strategy in _SHARED_OUT:
            raise ConfigError(
                f"stage {name}: algo.imitation.adapt.gain_every compares whole gradients, which "
                f"launch.strategy {strategy} shares out; use ddp, or gain_every=0"
            )


def spread(
    policy: Policy,
    launch: LaunchConfig,
    ranks: Ranks,
    prompts: Prompts,
    rows: Sequence[Row],
    folder: Path,
) -> Policy:
    """The policy with its weights spread; `rows` are those that it will meet."""
    if launch.strategy not in _SHARED_OUT:
        return replace(policy, strategy=Replicated(ranks=ranks))
    stand_ins = ranks.in_turn(
        lambda: build_stand_ins(prompts, rows, folder / "data" / "stand_ins"), "stand-ins: making"
    )
    strategy: Strategy
    if launch.strategy == "fsdp2":
        from mmrl.distributed.fsdp import FullyShared

        strategy = FullyShared(ranks=ranks, stand_ins=stand_ins)
    else:
        from mmrl.distributed.zero import Zero

        strategy = Zero(
            ranks=ranks,
            stand_ins=stand_ins,
            stage=2 if launch.strategy == "zero2" else 3,
            dtype="float32" if policy.dtype.itemsize == 4 else "bfloat16",
        )
    strategy.prepare(policy.model)
    return replace(policy, strategy=strategy)
