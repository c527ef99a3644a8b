"""Weights, gradients and optimizer states shared out by torch's own `fully_shard` (FSDP2), layer by
layer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmrl.distributed.ranks import Ranks
from mmrl.distributed.source import Source
from mmrl.distributed.stand_ins import StandIns
from mmrl.distributed.strategy import check_finite, named_trainable, set_rate
from mmrl.lora import is_adapter_weight


@dataclass(kw_only=True, slots=True)
class FullyShared:
    """Parameters are DTensors; a layer's are gathered while it runs."""

    ranks: Ranks
    offload: bool = False
    """Weights, gradients and moments wait in the host's memory."""
    stand_ins: StandIns | None = None
    _held: list[Any] = field(default_factory=list)
    """Modules that every process has whole at the moment."""

    @property
    def keeps_step(self) -> bool:
        """Whenever layers are gathered as they run."""
        return not self._held

    def prepare(self, model: Any, source: Source | None) -> None:
        """Share out every layer that transformers says must not be split, and then the rest; each
        is filled and whole only until it is shared out.
        """
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

        device = model.device if source is None else source.device
        mesh = init_device_mesh(device.type, (self.ranks.count,))
        pinned = device.type == "cuda"
        policy = CPUOffloadPolicy(pin_memory=pinned) if self.offload else OffloadPolicy()
        layers = set(model._no_split_modules or ())
        # what stands inside another layer comes first
        inner = reversed([m for m in model.modules() if type(m).__name__ in layers])
        for module in (*inner, model):
            if source is not None:
                for _ in source.fill(model, module):
                    pass
                if module is model:
                    source.fill_buffers(model)
            with self.ranks.waiting("weights: sharing out"):
                fully_shard(module, mesh=mesh, offload_policy=policy)
        for module in _shared(model):
            # gradients add up: the loss was divided by counts of all processes
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)

    def attach(self, model: Any, adamw: torch.optim.Optimizer | None, *, grad_clip: float) -> None:
        """The optimizer works on what this process holds."""

    def forward(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """Run the model, which gathers its layers."""
        if self._held:
            return model(**inputs)
        with self.ranks.waiting("forward pass"):
            output = model(**inputs)
            if not torch.is_grad_enabled():
                # what stands outside the layers would stay whole until a backward pass
                model.reshard()
            return output

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of this process's share of the loss."""
        with self.ranks.waiting("backward pass"):
            loss.backward()

    def passes(self, count: int) -> int:
        """As many as the process that needs most of them, and at least one."""
        return max(1, int(self.ranks.largest([count], "passes: counting")[0]))

    @contextmanager
    def whole(self, model: Any, *, decoder: bool = True) -> Iterator[None]:
        """Gather layers, and keep them until the end."""
        inside = {id(module) for module in model.get_decoder().modules()}
        known = {id(module) for module in self._held}
        modules = [
            module
            for module in _shared(model)
            if id(module) not in known and (decoder or id(module) not in inside)
        ]
        with self.ranks.waiting("gathering weights"):
            for module in modules:
                module.set_reshard_after_forward(False, recurse=False)
                module.unshard()
        self._held += modules
        try:
            yield
        finally:
            del self._held[len(self._held) - len(modules) :]
            for module in modules:
                module.set_reshard_after_forward(True, recurse=False)
                module.reshard()

    def parts(self, model: Any) -> Iterator[Sequence[str]]:
        """Layer by layer, and then the rest."""
        shared = set(_shared(model))
        units = {name: module for name, module in model.named_modules() if module in shared}
        names: dict[str, list[str]] = {unit: [] for unit in units}
        for name, _ in model.named_parameters(remove_duplicate=False):
            holders = (unit for unit in units if not unit or name.startswith(f"{unit}."))
            names[max(holders, key=len)].append(name)
        for unit, own in names.items():
            if not own or units[unit] in self._held:
                yield own
                continue
            with self.ranks.waiting("gathering weights"):
                units[unit].unshard()
            yield own
            units[unit].reshard()

    def each_whole(self, model: Any, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """Gathered one by one."""
        for name, parameter in model.named_parameters():
            if name in names:
                yield name, self._full(parameter)

    @torch.no_grad()
    def put(self, parameter: torch.nn.Parameter, whole: Tensor) -> None:
        """Take this process's part."""
        own: Any = parameter
        own.to_local().copy_(_part(own, whole))

    def step(
        self, adamw: torch.optim.Optimizer, *, step: int, lr: float, grad_clip: float
    ) -> float:
        """Clip by the norm of all parts, and move."""
        parameters = [p for group in adamw.param_groups for p in group["params"]]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        with self.ranks.waiting("optimizer step"):
            norm: Any = torch.nn.utils.clip_grad_norm_(parameters, grad_clip)
            norm = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        check_finite(norm, step)
        set_rate(adamw, lr)
        adamw.step()
        adamw.zero_grad()
        return norm

    def weights(self, model: Any, *, adapter: bool = False) -> dict[str, Tensor]:
        """Gathered one by one; those that are tied stay one tensor."""
        found: dict[int, Tensor] = {}
        weights: dict[str, Tensor] = {}
        for name, tensor in model.state_dict(keep_vars=True).items():
            if adapter and not is_adapter_weight(name):
                continue
            if id(tensor) not in found:
                whole = self._full(tensor)
                found[id(tensor)] = whole.cpu().clone() if self.ranks.leads else whole.new_empty(0)
            if self.ranks.leads:
                weights[name] = found[id(tensor)]
        return weights

    def moments(self, model: Any, adamw: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
        """The optimizer's state, gathered tensor by tensor."""
        moments: dict[str, dict[str, Tensor]] = {}
        for name, parameter in named_trainable(model):
            for key, value in adamw.state[parameter].items() if parameter in adamw.state else ():
                whole = self._full(value)
                if self.ranks.leads:
                    moments.setdefault(name, {})[key] = whole.cpu().clone()
        return moments

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

    def _full(self, tensor: Any) -> Tensor:
        if not hasattr(tensor, "full_tensor"):
            return tensor.detach()
        with self.ranks.waiting("gathering weights"):
            return tensor.full_tensor().detach()


def _part(like: Any, whole: Tensor) -> Tensor:
    """What this process holds of a tensor that all processes have whole."""
    from torch.distributed.tensor import distribute_tensor

    parts: Any = distribute_tensor(
        whole.to(like.device, like.dtype), like.device_mesh, like.placements, src_data_rank=None
    )
    return parts.to_local()


def _shared(model: Any) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]
