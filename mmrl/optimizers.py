"""Makes the optimizer that `optim.kind` names, and what a checkpoint keeps of its state.

In 8 bits (arXiv 2110.02861) both moments are held in blocks of 256 values with a scale of their
own, a quarter of the memory; tensors of fewer than 4096 elements stay in float32.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from mmrl.config.schema import OptimConfig, Run, SelectStage
from mmrl.errors import ConfigError, RunError

_BITSANDBYTES = {"adamw_8bit": "AdamW8bit", "paged_adamw_8bit": "PagedAdamW8bit"}


def check_optimizers(run: Run) -> None:
    """Refuse what this machine cannot do, before anything is loaded.

    Raises:
        ConfigError: a package or a GPU is missing.
    """
    for name, stage in run.stages.items():
        if isinstance(stage, SelectStage) or stage.optim.kind not in _BITSANDBYTES:
            continue
        kind = stage.optim.kind
        if find_spec("bitsandbytes") is None:
            raise ConfigError(
                f"stage {name}: optim.kind: {kind} needs bitsandbytes, which is not installed; "
                "pip install 'mmrl-toolkit[bitsandbytes]', or use adamw"
            )
        on_cpu = stage.model.device == "cpu" or not torch.cuda.is_available()
        if kind == "paged_adamw_8bit" and on_cpu:
            raise ConfigError(
                f"stage {name}: optim.kind: {kind} moves moments between a GPU and the host, and "
                "there is no GPU here; use adamw_8bit"
            )


def make_optimizer(
    config: OptimConfig, parameters: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimizer of a stage, without state."""
    settings: dict[str, Any] = {
        "lr": config.lr,
        "betas": config.betas,
        "weight_decay": config.weight_decay,
    }
    if config.kind in _BITSANDBYTES:
        optim: Any = importlib.import_module("bitsandbytes.optim")
        return getattr(optim, _BITSANDBYTES[config.kind])(list(parameters), **settings)
    fused = True if config.kind == "adamw_fused" else None
    return torch.optim.AdamW(list(parameters), fused=fused, **settings)


def saved_state(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """One parameter's state as tensors of its own; the table of the values that 8 bits stand for is
    the same for all and is left out.
    """
    return {
        key: value if isinstance(value, Tensor) else torch.tensor(value)
        for key, value in state.items()
        if not key.startswith("qmap")
    }


def load_state(
    optimizer: torch.optim.Optimizer,
    parameter: torch.nn.Parameter,
    saved: Mapping[str, Tensor],
    *,
    name: str,
) -> None:
    """Put back what `saved_state` gave.

    Raises:
        RunError: it is of an optimizer of another kind.
    """
    in_bits = hasattr(optimizer, "init_state")
    if in_bits != ("state1" in saved):
        raise RunError(
            f"resume: the moments of {name} were saved by another kind of optimizer; "
            "keep optim.kind as it was"
        )
    if in_bits:
        _load_bits(optimizer, parameter, saved)
        return
    fused = bool(optimizer.defaults.get("fused"))
    optimizer.state[parameter] = {
        key: value if key == "step" and not fused else value.to(parameter.device)
        for key, value in saved.items()
    }


@torch.no_grad()
def forget_state(optimizer: torch.optim.Optimizer) -> None:
    """Begin anew: moments and counts of steps become zero where they are, since DeepSpeed has views
    of them; those in 8 bits are made again when they are needed.
    """
    if hasattr(optimizer, "init_state"):
        optimizer.state.clear()
        return
    for state in optimizer.state.values():
        for value in state.values():
            value.zero_()


def _load_bits(optimizer: Any, parameter: torch.nn.Parameter, saved: Mapping[str, Tensor]) -> None:
    """Its own buffers are filled, which may be pages that the host and a GPU share."""
    [group] = optimizer.param_groups
    place = next(i for i, other in enumerate(group["params"]) if other is parameter)
    optimizer.init_state(group, parameter, 0, place)
    state = optimizer.state[parameter]
    for key, value in saved.items():
        if isinstance(state[key], Tensor):
            state[key].copy_(value)
        else:
            state[key] = int(value)
