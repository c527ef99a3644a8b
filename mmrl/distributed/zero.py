"""Gradients and optimizer states (ZeRO-2), or weights too (ZeRO-3), shared out by DeepSpeed (arXiv
1910.02054).

Checkpoints hold whole tensors by parameter name, as with one process, so a run goes on with another
number of processes or another strategy.
"""

# DeepSpeed is an extra, which the type checker's environment does without.
# pyright: reportMissingImports=false
from __future__ import annotations

import importlib
import logging
import math
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from mmrl.config.launch import Offload
from mmrl.distributed.plan import deepspeed_config
from mmrl.distributed.ranks import Ranks
from mmrl.distributed.source import Source
from mmrl.distributed.stand_ins import StandIns
from mmrl.distributed.strategy import check_finite, named_trainable, set_rate
from mmrl.lora import is_adapter_weight

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(kw_only=True, slots=True)
class Zero:
    """The model inside a DeepSpeed engine."""

    ranks: Ranks
    stage: Literal[2, 3]
    dtype: Literal["float32", "bfloat16"]
    offload: Offload = "none"
    stand_ins: StandIns | None = None
    _engine: Any = None
    _optimizer: Any = None
    _held: set[int] = field(default_factory=set)
    """Parameters of ZeRO-3 that every process has whole at the moment."""

    @property
    def keeps_step(self) -> bool:
        """Where gradients are asked for; ZeRO-3 also where weights are gathered as layers run."""
        return torch.is_grad_enabled() if self.stage == 2 else not self._held

    def prepare(self, model: Any, source: Source | None) -> None:
        """Share out each weight of ZeRO-3 as soon as it is filled. Weights that are there already
        are shared out when there is an optimizer.
        """
        if source is None:
            return
        deepspeed = _deepspeed(source.device)
        config = self._config(grad_clip=0.0)
        init = deepspeed.zero.Init(module=torch.nn.Module(), config_dict_or_path=config)
        for parameter in source.fill(model, model):
            with self.ranks.waiting("weights: sharing out"):
                init._convert_to_zero_parameters([parameter])
        source.fill_buffers(model)

    def attach(self, model: Any, adamw: torch.optim.Optimizer | None, *, grad_clip: float) -> None:
        """Make the engine; from now on gradients, states and (ZeRO-3) weights are in parts."""
        deepspeed = _deepspeed(torch.device(model.device))
        config = self._config(grad_clip=grad_clip)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=model, optimizer=adamw, config=config, dist_init_required=False
        )

    def forward(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """Run the engine where a gradient is asked for, else the bare model, which gathers its
        layers unless they are whole.
        """
        if not self.keeps_step:
            return model(**inputs)
        with self.ranks.waiting("forward pass"):
            return (self._engine if torch.is_grad_enabled() else model)(**inputs)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient; DeepSpeed takes means over processes, so that the loss is multiplied
        by their number.
        """
        with self.ranks.waiting("backward pass"):
            self._engine.backward(loss * self.ranks.count)

    def passes(self, count: int) -> int:
        """As many as the process that needs most of them, and at least one."""
        return max(1, int(self.ranks.largest([count], "passes: counting")[0]))

    def whole(self, model: Any, *, decoder: bool = True) -> AbstractContextManager[None]:
        """Gather the weights of ZeRO-3, without the hooks that would scatter them again."""
        if self.stage == 2:
            return nullcontext()
        inner = set() if decoder else _in_layers(model)
        wanted = [p for p in model.parameters() if id(p) not in inner | self._held]
        return self._gathered(model, wanted)

    def parts(self, model: Any) -> Iterator[Sequence[str]]:
        """Weight by weight; an adapter with what it is for."""
        names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
        if self.stage == 2:
            yield names
            return
        layers: dict[str, list[str]] = {}
        for name in names:
            layers.setdefault(re.split(r"\.(?:base_layer|lora_\w+)\.", name)[0], []).append(name)
        parameters = dict(model.named_parameters(remove_duplicate=False))
        for own in layers.values():
            with self._in_hand([parameters[name] for name in own]):
                yield own

    def each_whole(self, model: Any, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """Gathered one by one."""
        for name, parameter in model.named_parameters():
            if name in names:
                with self._in_hand([parameter]):
                    yield name, parameter.detach()

    @torch.no_grad()
    def put(self, parameter: torch.nn.Parameter, whole: Tensor) -> None:
        """Take this process's part of ZeRO-3, and what happens to be gathered."""
        own: Any = parameter
        if self.stage == 3:
            self._copy_part(own.ds_tensor, whole)
        if own.shape == whole.shape:
            own.copy_(whole)

    def step(
        self, adamw: torch.optim.Optimizer, *, step: int, lr: float, grad_clip: float
    ) -> float:
        """Clip and move by DeepSpeed."""
        set_rate(self._optimizer, lr)
        with self.ranks.waiting("optimizer step"):
            self._engine.step()
        norm = float(self._engine.get_global_grad_norm())
        # -1 is its word for a norm that is not finite
        check_finite(math.inf if norm < 0 else norm, step)
        return norm

    def weights(self, model: Any, *, adapter: bool = False) -> dict[str, Tensor] | None:
        """Gathered one by one, where the model holds parts of them; those that are tied stay one
        tensor.
        """
        if self.stage == 2:
            return None
        found: dict[int, Tensor] = {}
        weights: dict[str, Tensor] = {}
        for name, tensor in model.state_dict(keep_vars=True).items():
            if adapter and not is_adapter_weight(name):
                continue
            if id(tensor) not in found:
                with self._in_hand([tensor]):
                    found[id(tensor)] = (
                        tensor.detach().cpu().clone() if self.ranks.leads else tensor.new_empty(0)
                    )
            if self.ranks.leads:
                weights[name] = found[id(tensor)]
        return weights

    def moments(self, model: Any, adamw: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
        """The optimizer's state, gathered parameter by parameter."""
        from deepspeed.utils import safe_get_full_optimizer_state

        whole: Any = safe_get_full_optimizer_state
        steps = [state["step"] for state in self._states().values() if "step" in state]
        moments: dict[str, dict[str, Tensor]] = {}
        for name, parameter in named_trainable(model) if steps else ():
            found = {"step": steps[0].detach().cpu().clone()}
            for key in _MOMENTS:
                with self.ranks.waiting("gathering the optimizer's state"):
                    value = whole(parameter, key)
                if self.ranks.leads:
                    found[key] = value.cpu()
            if self.ranks.leads:
                moments[name] = found
        return moments

    def load_moments(
        self,
        model: Any,
        adamw: torch.optim.Optimizer,
        saved: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        """Put the state back in parts; all parameters have one count of steps."""
        if not saved:
            return
        steps = max(entries["step"] for entries in saved.values())
        states = self._states()
        for flat in self._flat():
            zeros = {key: torch.zeros_like(flat.data) for key in _MOMENTS}
            states[flat] = {"step": steps.clone(), **zeros}
        if self.stage == 2:
            self._optimizer._lazy_init_hp_params_optimizer_state()
        for name, parameter in named_trainable(model):
            for key in _MOMENTS if name in saved else ():
                self._put(parameter, key, saved[name][key])

    def close(self) -> None:
        """Take the hooks off."""
        self._engine.destroy()

    def _config(self, *, grad_clip: float) -> dict[str, Any]:
        return deepspeed_config(
            self.stage, grad_clip=grad_clip, dtype=self.dtype, offload=self.offload
        )

    def _states(self) -> Any:
        return self._optimizer.optimizer.state

    def _flat(self) -> list[Tensor]:
        """The parts of weights that this process's optimizer moves."""
        return (
            self._optimizer.single_partition_of_fp32_groups
            if self.stage == 2
            else self._optimizer.fp32_partitioned_groups_flat
        )

    def _put(self, parameter: torch.nn.Parameter, key: str, value: Tensor) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state

        if self.stage == 2:
            safe_set_full_optimizer_state(parameter, value.to(parameter.device), key)
            return
        part, _ = self._optimizer._get_fp32_opt_state_partition(
            parameter, release_swap_buffers=False, optim_state_key=key
        )
        self._copy_part(part, value)

    def _copy_part(self, part: Tensor, whole: Tensor) -> None:
        # the last part may be padded, which DeepSpeed's own setter does not allow for
        missing = part.numel() * self.ranks.count - whole.numel()
        padded = torch.nn.functional.pad(whole.flatten(), (0, missing))
        part.copy_(padded[part.numel() * self.ranks.rank :][: part.numel()])

    @contextmanager
    def _in_hand(self, tensors: Sequence[Tensor]) -> Iterator[None]:
        """While inside, these are whole."""
        found: list[Any] = [t for t in tensors if hasattr(t, "ds_id") and id(t) not in self._held]
        if not found:
            yield
            return
        for parameter in found:
            parameter.ds_active_sub_modules.clear()
        gather = _deepspeed(found[0].device).zero.GatheredParameters(found)
        with self.ranks.waiting("gathering weights"):
            gather.__enter__()
        yield
        with self.ranks.waiting("gathering weights"):
            gather.__exit__(None, None, None)

    @contextmanager
    def _gathered(self, model: Any, parameters: Sequence[Any]) -> Iterator[None]:
        if not parameters:
            yield
            return
        offload = getattr(self._optimizer, "parameter_offload", self._optimizer)
        gather = _deepspeed(parameters[0].device).zero.GatheredParameters(parameters)
        with self.ranks.waiting("gathering weights"):
            gather.__enter__()
        before = self._held
        self._held = before | set(map(id, parameters))
        for parameter in parameters:
            parameter.ds_active_sub_modules.clear()
        for hook in (*offload.forward_hooks, *offload.backward_hooks):
            hook.remove()
        offload.forward_hooks, offload.backward_hooks = [], []
        # another one asks all processes whether they run the same modules
        offload.fwd_pre_hook.remove()
        try:
            yield
        finally:
            self._held = before
            if not before:
                _hook_up(offload)
            with self.ranks.waiting("gathering weights"):
                gather.__exit__(None, None, None)


def _in_layers(model: Any) -> set[int]:
    """The parameters of the decoder's layers."""
    layers = set(model._no_split_modules or ())
    inside = [m for m in model.get_decoder().modules() if type(m).__name__ in layers]
    return {id(parameter) for module in inside for parameter in module.parameters()}


def _deepspeed(device: torch.device) -> Any:
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # it calls torch by names that torch is about to change, at every exchange
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    if device.type == "cpu":
        # It would compile an operation for inference, which takes a compiler and a minute.
        backend: Any = importlib.import_module("deepspeed.comm.torch")
        backend.build_shm_op = lambda: None
    return deepspeed


def _hook_up(offload: Any) -> None:
    """Let DeepSpeed gather and scatter weights as layers run, as it does when it is set up."""
    offload.fwd_pre_hook = offload.module.register_forward_pre_hook(
        lambda *_: offload.get_param_coordinator().reset_step()
    )
    offload._register_deepspeed_module(offload.module)
