"""How weights, gradients and optimizer states are spread over the processes that train together.

The loss is divided by counts of the whole optimizer step, so that gradients of processes add up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from mmrl.distributed.ranks import ALONE, Ranks
from mmrl.optimizers import load_state, saved_state

if TYPE_CHECKING:
    from mmrl.distributed.source import Source
    from mmrl.distributed.stand_ins import StandIns

BUCKET = 2**25
"""Elements that are added up together: 128 MB in float32."""


class Strategy(Protocol):
    """What training asks of the way in which weights are spread."""

    @property
    def ranks(self) -> Ranks:
        """The processes."""
        ...

    @property
    def stand_ins(self) -> StandIns | None:
        """What goes through the encoders of a process whose rows have nothing for them; None
        where processes may run different encoders, and make different numbers of passes.
        """
        ...

    @property
    def keeps_step(self) -> bool:
        """Whether all processes have to make the same passes at this moment."""
        ...

    def prepare(self, model: Any, source: Source | None) -> None:
        """Spread the weights, before an optimizer is made for them; a model without weights is
        given those of the source.
        """
        ...

    def attach(self, model: Any, adamw: torch.optim.Optimizer | None, *, grad_clip: float) -> None:
        """Spread the optimizer over the processes; a model that does not learn has none."""
        ...

    def forward(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """Run the model."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of this process's share of the loss."""
        ...

    def passes(self, count: int) -> int:
        """How many passes this process makes, to whom `count` would be enough."""
        ...

    def whole(self, model: Any, *, decoder: bool = True) -> AbstractContextManager[None]:
        """While inside, every process holds all weights, or all but those of the decoder's layers,
        and runs what it holds by itself, without gradient.
        """
        ...

    def parts(self, model: Any) -> Iterator[Sequence[str]]:
        """Walk through the model: the parameters of these names are whole until the next ones are
        asked for. All processes have to walk.
        """
        ...

    def each_whole(self, model: Any, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """The parameters of these names in the model's order, one at a time, whole. All processes
        have to walk.
        """
        ...

    def put(self, parameter: torch.nn.Parameter, whole: Tensor) -> None:
        """Overwrite a parameter that does not learn."""
        ...

    def step(
        self, adamw: torch.optim.Optimizer, *, step: int, lr: float, grad_clip: float
    ) -> float:
        """Clip the gradient of all processes, move the weights, forget the gradient; return the
        norm before clipping.

        Raises:
            FloatingPointError: the norm is not finite.
        """
        ...

    def weights(self, model: Any, *, adapter: bool = False) -> dict[str, Tensor] | None:
        """All weights by name, or those of its adapter, on the CPU of the process that leads, and
        none on the others; None if the model has them itself.
        """
        ...

    def moments(self, model: Any, adamw: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
        """The optimizer's state by parameter and key, whole, on the process that leads; none, or
        its own, on the others.
        """
        ...

    def load_moments(
        self,
        model: Any,
        adamw: torch.optim.Optimizer,
        saved: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        """Put back what `moments` gave, whatever the strategy that gave it."""
        ...

    def close(self) -> None:
        """Let go of the model."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Replicated:
    """Every process holds everything; gradients are added up before the step, in the model's
    order. One process alone is the smallest case.
    """

    ranks: Ranks = field(default_factory=lambda: ALONE)
    stand_ins: None = None
    keeps_step: bool = field(default=False, init=False)

    def prepare(self, model: Any, source: Source | None) -> None:
        """Nothing is spread."""

    def attach(self, model: Any, adamw: torch.optim.Optimizer | None, *, grad_clip: float) -> None:
        """Nothing is spread."""

    def forward(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """Run the model."""
        return model(**inputs)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient."""
        loss.backward()

    def passes(self, count: int) -> int:
        """As many as this process needs."""
        return count

    def whole(self, model: Any, *, decoder: bool = True) -> AbstractContextManager[None]:
        """The weights are whole anyway."""
        return nullcontext()

    def parts(self, model: Any) -> Iterator[Sequence[str]]:
        """All at once."""
        yield [name for name, _ in model.named_parameters(remove_duplicate=False)]

    def each_whole(self, model: Any, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """They are whole anyway."""
        return ((name, p.detach()) for name, p in model.named_parameters() if name in names)

    @torch.no_grad()
    def put(self, parameter: torch.nn.Parameter, whole: Tensor) -> None:
        """Overwrite the parameter."""
        parameter.copy_(whole)

    def step(
        self, adamw: torch.optim.Optimizer, *, step: int, lr: float, grad_clip: float
    ) -> float:
        """Add the gradients of all processes up, clip, and move the weights."""
        parameters = [p for group in adamw.param_groups for p in group["params"]]
        self._add_up(parameters)
        for parameter in parameters:
            # moments move on alike whether a batch held no sound, or none that taught
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        norm = torch.nn.utils.clip_grad_norm_(parameters, grad_clip).item()
        check_finite(norm, step)
        set_rate(adamw, lr)
        adamw.step()
        adamw.zero_grad()
        return norm

    def weights(self, model: Any, *, adapter: bool = False) -> None:
        """The model has them itself."""
        return None

    def moments(self, model: Any, adamw: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
        """The optimizer's state."""
        return {
            name: saved_state(adamw.state[parameter])
            for name, parameter in named_trainable(model)
            if parameter in adamw.state
        }

    def load_moments(
        self,
        model: Any,
        adamw: torch.optim.Optimizer,
        saved: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        """Put the state back, each tensor where its parameter is."""
        for name, parameter in named_trainable(model):
            if name in saved:
                load_state(adamw, parameter, saved[name], name=name)

    def close(self) -> None:
        """There is nothing to let go of."""

    def _add_up(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sum gradients over processes. One that no process has stays None, one that only others
        have counts as zeros, so that all exchange the same tensors whatever their media were.
        """
        if self.ranks.count == 1:
            return
        own = [float(parameter.grad is not None) for parameter in parameters]
        anywhere = self.ranks.largest(own, "gradients: which there are")
        chosen = [p for p, there in zip(parameters, anywhere, strict=True) if there]
        for parameter in chosen:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets(chosen):
            gradients = [parameter.grad for parameter in bucket if parameter.grad is not None]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            self.ranks.add_up(flat, "gradients: adding up")
            start = 0
            for gradient in gradients:
                gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
                start += gradient.numel()


def named_trainable(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """The parameters that learn, by name, in the model's order."""
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def set_rate(adamw: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameters."""
    for group in adamw.param_groups:
        group["lr"] = lr


def check_finite(norm: float, step: int) -> None:
    """Refuse a gradient that would destroy the weights.

    Raises:
        FloatingPointError: the gradient is not finite.
    """
    if not torch.isfinite(torch.tensor(norm)):
        raise FloatingPointError(
            f"step {step}: the gradient's norm is {norm}; the weights were not changed"
        )


def _buckets(parameters: Sequence[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """Neighbours of one type, so many elements at a time."""
    bucket: list[torch.nn.Parameter] = []
    size = 0
    for parameter in parameters:
        full = size + parameter.numel() > BUCKET or (bucket and bucket[0].dtype != parameter.dtype)
        if bucket and full:
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    if bucket:
        yield bucket
