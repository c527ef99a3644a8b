"""Refuses a launch that could not train, before a process is started or a package of deep learning
is imported.
"""

from __future__ import annotations

from importlib.util import find_spec

from mmrl.config.schema import GrpoStage, Run
from mmrl.errors import ConfigError

_SHARES_GRADIENTS = ("zero2", "zero3", "fsdp2")


def check_stages(run: Run) -> None:
    """Refuse a strategy under which a stage could not be trained as it is configured.

    Raises:
        ConfigError: a stage needs gradients that no process holds whole.
    """
    for name, stage in run.stages.items():
        imitation = stage.algo.imitation if isinstance(stage, GrpoStage) else None
        measured = imitation and imitation.adapt and imitation.adapt.gain_every
        if measured and run.launch.strategy in _SHARES_GRADIENTS:
            raise ConfigError(
                f"stages.{name}: algo.imitation.adapt.gain_every compares whole gradients, which "
                f"launch.strategy {run.launch.strategy} shares out; use ddp, or gain_every=0"
            )


def check_machine(run: Run) -> None:
    """Refuse what this machine lacks for a launch.

    Raises:
        ConfigError: a package is missing, or the other nodes could not reach this one.
    """
    launch = run.launch
    if launch.strategy in ("zero2", "zero3") and find_spec("deepspeed") is None:
        raise ConfigError(
            f"launch.strategy: {launch.strategy} needs DeepSpeed; "
            "pip install 'mmrl-toolkit[deepspeed]', or use ddp or fsdp2"
        )
    alone = launch.master_address in ("127.0.0.1", "localhost")
    if launch.nodes > 1 and alone and launch.scheduler == "none":
        raise ConfigError(
            f"launch.master_address: {launch.nodes} nodes need the name of node 0 as the others "
            f"reach it, got {launch.master_address}"
        )
