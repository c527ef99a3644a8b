"""What a launch that shares weights or optimizer states out cannot hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmrl.config.launch import LaunchConfig

if TYPE_CHECKING:
    from mmrl.config.schema import AnyStage


def check_spread(stages: Mapping[str, AnyStage], launch: LaunchConfig) -> None:
    """Refuse optimizers that keep whole moments, and weights in four bits.

    Raises:
        ValueError: a stage has them.
    """
    if launch.strategy in ("single", "ddp"):
        return
    for name, stage in stages.items():
        kind = "adamw" if stage.kind == "select" else stage.optim.kind
        if kind != "adamw":
            raise ValueError(
                f"stages.{name}.optim.kind: {kind} keeps moments whole, which "
                f"launch.strategy {launch.strategy} shares out; use ddp, or adamw"
            )
        lora = stage.model.lora
        if lora is not None and lora.quantize != "none":
            raise ValueError(
                f"stages.{name}.model.lora.quantize: weights in four bits stay whole, which "
                f"launch.strategy {launch.strategy} shares out; use ddp, or quantize=none"
            )
