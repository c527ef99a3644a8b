"""Refuses a launch that this machine cannot do, before a process is started. No torch is imported
here.
"""

from __future__ import annotations

from importlib.util import find_spec

from mmrl.config.launch import LaunchConfig
from mmrl.errors import ConfigError


def check_machine(launch: LaunchConfig) -> None:
    """Refuse what this machine lacks for a launch.

    Raises:
        ConfigError: a package is missing, or the other nodes could not reach this one.
    """
    if launch.strategy in ("zero2", "zero3") and find_spec("deepspeed") is None:
        raise ConfigError(
            f"launch.strategy: {launch.strategy} needs DeepSpeed; "
            "pip install 'mmrl-toolkit[deepspeed]', or use ddp or fsdp2"
        )
    if lacks_address(launch):
        raise ConfigError(
            f"launch.master_address: {launch.nodes} nodes need the name of node 0 as the others "
            f"reach it, got {launch.master_address}"
        )


def lacks_address(launch: LaunchConfig) -> bool:
    """Whether other nodes are to meet node 0 and are not told where it is."""
    named = launch.master_address not in ("127.0.0.1", "localhost")
    return launch.nodes > 1 and launch.scheduler == "none" and not named
