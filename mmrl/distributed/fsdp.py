"""Weights, gradients and optimizer states shared out by torch's own `fully_shard` (FSDP2), layer by
layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmrl.distributed.ranks import Ranks
from mmrl.distributed.stand_ins import StandIns
from mmrl.distributed.strategy import check_finite, named_trainable, set_rate


@dataclass(kw_only=True, slots=True)
class FullyShared:
    """Parameters are DTensors; a layer's are gathered while it runs."""

    ranks: Ranks
    stand_ins: StandIns
    _depth: int = 0

    def prepare(self, model: Any) -> None:
        """Share out every layer that transformers says must not be split, and then the rest."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(model.device.type, (self.ranks.count,))
        layers = set(model._no_split_modules or ())
        with self.ranks.waiting("sharing out weights"):
            # what stands inside another layer comes first
            for module in reversed([m for m in model.modules() if type(m).__name__ in layers]):
                fully_shard(module, mesh=mesh)
            fully_shard(model, mesh=mesh)
        for module in _shared(model):
            # gradients add up: the loss was divided by counts of all processes
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)

    def attach(self, model: Any, adamw: torch.optim.Optimizer, *, grad_clip: float) -> None:
        """The optimizer works on what this process holds."""

    def forward(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """Run the model, which gathers its layers."""
        if not torch.is_grad_enabled():
            return model(**inputs)
        with self.ranks.waiting("forward pass"):
            return model(**inputs)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of this process's share of the loss."""
        with self.ranks.waiting("backward pass"):
            loss.backward()

    def passes(self, count: int) -> int:
        """As many as the process that needs most of them, and at least one."""
        return max(1, int(self.ranks.largest([count], "passes: counting")[0]))

    def whole(self, model: Any) -> AbstractContextManager[None]:
        """Gather all layers, and keep them until the end."""
        return self._gathered(model)

    def step(
        self, adamw: torch.optim.Optimizer, *, step: int, lr: float, grad_clip: float
    ) -> float:
        """Clip by the norm of all parts, and move."""
        parameters = [p for group in adamw.param_groups for p in group["params"]]
        with self.ranks.waiting("optimizer step"):
            norm: Any = torch.nn.utils.clip_grad_norm_(parameters, grad_clip)
            norm = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        check_finite(norm, step)
        set_rate(adamw, lr)
        adamw.step()
        adamw.zero_grad()
        return norm

    def weights(self, model: Any) -> dict[str, Tensor]:
        """All weights by name; those that are tied stay one tensor."""
        found: dict[int, Tensor] = {}
        with self.ranks.waiting("gathering weights"):
            return {
                name: found.setdefault(id(tensor), _full(tensor))
                for name, tensor in model.state_dict(keep_vars=True).items()
            }

    def moments(self, model: Any, adamw: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
        """The optimizer's state, gathered tensor by tensor."""
        with self.ranks.waiting("gathering the optimizer's state"):
            return {
                name: {key: _full(value) for key, value in adamw.state[parameter].items()}
                for name, parameter in named_trainable(model)
                if parameter in adamw.state
            }

    def load_moments(
        self,
        model: Any,
        adamw: torch.optim.Optimizer,
        saved: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        """Put the state back in parts."""
        from torch.distributed.tensor import distribute_tensor

        for name, parameter in named_trainable(model):
            if name not in saved:
                continue
            own: Any = parameter
            adamw.state[parameter] = {
                key: value
                if key == "step"
                else distribute_tensor(value.to(own.device), own.device_mesh, own.placements)
                for key, value in saved[name].items()
            }

    def close(self) -> None:
        """Nothing outlives the model."""

    @contextmanager
    def _gathered(self, model: Any) -> Iterator[None]:
        if self._depth:
            yield
            return
        modules = _shared(model)
        with self.ranks.waiting("gathering weights"):
            for module in modules:
                module.set_reshard_after_forward(False, recurse=False)
                module.unshard()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            for module in modules:
                module.set_reshard_after_forward(True, recurse=False)
                module.reshard()


def _shared(model: Any) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _full(tensor: Any) -> Tensor:
    whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole.detach().cpu().clone()
