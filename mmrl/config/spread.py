"""What a launch that shares gradients, optimizer states or weights out cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmrl.config.launch import LaunchConfig

if TYPE_CHECKING:
    from mmrl.config.schema import AnyStage


def check_spread(stages: Mapping[str, AnyStage], launch: LaunchConfig) -> None:
    """Refuse optimizers that keep whole moments, weights in four bits, and what compares whole
    gradients.

    Raises:
        ValueError: a stage has them.
    """
    for name, stage in stages.items():
        check_stage_spread(stage, launch, prefix=f"stages.{name}.")


def check_stage_spread(stage: AnyStage, launch: LaunchConfig, *, prefix: str = "") -> None:
    """The same of one stage; `prefix` stands before its keys in the message."""
    if launch.strategy in ("single", "ddp"):
        return
    shared = f"which launch.strategy {launch.strategy} shares out; use ddp, or"
    kind = "adamw" if stage.kind == "select" else stage.optim.kind
    if kind != "adamw":
        raise ValueError(f"{prefix}optim.kind: {kind} keeps moments whole, {shared} adamw")
    lora = stage.model.lora
    if lora is not None and lora.quantize != "none":
        raise ValueError(
            f"{prefix}model.lora.quantize: weights in four bits stay whole, {shared} quantize=none"
        )
    imitation = stage.algo.imitation if stage.kind == "grpo" else None
    if imitation is not None and imitation.adapt is not None and imitation.adapt.gain_every:
        raise ValueError(
            f"{prefix}algo.imitation.adapt.gain_every compares whole gradients, {shared} "
            "gain_every=0"
        )
