"""Weights that the first process alone loads, into the memory of its CPU, and hands out tensor by
tensor to models that were built without any: no other process ever holds the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmrl.distributed.ranks import Ranks

if TYPE_CHECKING:
    from mmrl.model import Policy


@dataclass(kw_only=True, slots=True)
class Source:
    """What models without weights are filled from."""

    ranks: Ranks
    device: torch.device
    """Where the filled tensors are."""
    load: Callable[[], Policy]
    """Loads the same policy with weights, on the CPU."""
    _whole: dict[str, Tensor] = field(default_factory=dict)

    def open(self) -> None:
        """Have the first process load all weights, while the others wait."""

        def load() -> None:
            model = self.load().model
            self._whole |= dict(model.named_parameters(remove_duplicate=False))
            self._whole |= dict(model.named_buffers(remove_duplicate=False))

        self.ranks.first_only(load, "weights: loading")

    def fill(self, model: Any, within: Any) -> Iterator[torch.nn.Parameter]:
        """Give the parameters within a module of the model their weights, one after the other;
        those that are tied stay one. All processes walk through this together.
        """
        wanted = {id(p) for p in within.parameters() if p.device.type == "meta"}
        found: dict[int, torch.nn.Parameter] = {}
        for name, module, key, empty in list(_places(model, "_parameters")):
            if id(empty) not in wanted:
                continue
            if id(empty) not in found:
                tensor = self._hand_out(name, empty)
                own = torch.nn.Parameter(tensor, requires_grad=empty.requires_grad)
                found[id(empty)] = module._parameters[key] = own
                yield own
            else:
                module._parameters[key] = found[id(empty)]

    def fill_buffers(self, model: Any) -> None:
        """Give the model's buffers what they hold, also those that no checkpoint has."""
        for name, module, key, empty in list(_places(model, "_buffers")):
            if empty.device.type == "meta":
                module._buffers[key] = self._hand_out(name, empty)

    def close(self) -> None:
        """Let go of the weights."""
        self._whole.clear()

    def _hand_out(self, name: str, empty: Tensor) -> Tensor:
        import torch.distributed as dist

        tensor = torch.empty(empty.shape, dtype=empty.dtype, device=self.device)
        if self.ranks.leads:
            tensor.copy_(self._whole[name].detach())
        if tensor.numel():
            with self.ranks.waiting("weights: sharing out"):
                dist.broadcast(tensor.view(-1).view(torch.uint8), 0)
        return tensor


def _places(model: Any, kind: str) -> Iterator[tuple[str, Any, str, Tensor]]:
    """Every place in the model's modules that has a tensor of the kind: its name, module, key."""
    for prefix, module in model.named_modules():
        own: Mapping[str, Tensor | None] = getattr(module, kind)
        for key, tensor in own.items():
            if tensor is not None:
                yield f"{prefix}.{key}" if prefix else key, module, key, tensor
