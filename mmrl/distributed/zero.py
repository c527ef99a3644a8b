"""Gradients and optimizer states (ZeRO-2), or weights too (ZeRO-3), shared out by DeepSpeed (arXiv
1910.02054).

Checkpoints hold whole tensors by parameter name, as with one process, so a run goes on with another
number of processes or another strategy.
"""

# DeepSpeed is an extra, which the type checker's environment does without.
# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from mmrl.distributed.plan import deepspeed_config
from mmrl.distributed.ranks import Ranks
from mmrl.distributed.stand_ins import StandIns
from mmrl.distributed.strategy import check_finite, named_trainable, set_rate

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(kw_only=True, slots=True)
class Zero:
    """The model inside a DeepSpeed engine."""

    ranks: Ranks
    stand_ins: StandIns
    stage: Literal[2, 3]
    dtype: Literal["float32", "bfloat16"]
    _engine: Any = None
    _depth: int = 0
    _optimizer: Any = field(default=None)

    def prepare(self, model: Any) -> None:
        """Nothing is spread before there is an optimizer."""

    def attach(self, model: Any, adamw: torch.optim.Optimizer, *, grad_clip: float) -> None:
        """Make the engine; from now on gradients, states and (ZeRO-3) weights are in parts."""
        import importlib
        import logging

        import deepspeed

        logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
        if torch.device(model.device).type == "cpu":
            # It would compile an operation for inference, which takes a compiler and a minute.
            backend: Any = importlib.import_module("deepspeed.comm.torch")
            backend.build_shm_op = lambda: None
        config = deepspeed_config(self.stage, grad_clip=grad_clip, dtype=self.dtype)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=model, optimizer=adamw, config=config, dist_init_required=False
        )

    def forward(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """Run the engine where a gradient is asked for, else the bare model."""
        if not torch.is_grad_enabled():
            return model(**inputs)
        with self.ranks.waiting("forward pass"):
            return self._engine(**inputs)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient; DeepSpeed takes means over processes, so that the loss is multiplied
        by their number.
        """
        with self.ranks.waiting("backward pass"):
            self._engine.backward(loss * self.ranks.count)

    def passes(self, count: int) -> int:
        """As many as the process that needs most of them, and at least one."""
        return max(1, int(self.ranks.largest([count], "passes: counting")[0]))

    def whole(self, model: Any) -> AbstractContextManager[None]:
        """Gather the weights of ZeRO-3, without the hooks that would scatter them again."""
        return self._gathered(model) if self.stage == 3 else nullcontext()

    def step(
        self, adamw: torch.optim.Optimizer, *, step: int, lr: float, grad_clip: float
    ) -> float:
        """Clip and move by DeepSpeed."""
        set_rate(self._optimizer, lr)
        with self.ranks.waiting("optimizer step"):
            self._engine.step()
        norm = float(self._engine.get_global_grad_norm())
        check_finite(norm, step)
        return norm

    def weights(self, model: Any) -> dict[str, Tensor] | None:
        """All weights by name, where the model holds parts of them."""
        if self.stage == 2:
            return None
        with self._gathered(model):
            return {
                name: tensor.detach().cpu().clone()
                for name, tensor in model.state_dict(keep_vars=True).items()
            }

    def moments(self, model: Any, adamw: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
        """The optimizer's state, gathered parameter by parameter."""
        from deepspeed.utils import safe_get_full_optimizer_state

        whole: Any = safe_get_full_optimizer_state
        steps = [state["step"] for state in self._states().values() if "step" in state]
        if not steps:
            return {}
        with self.ranks.waiting("gathering the optimizer's state"):
            return {
                name: {
                    "step": steps[0].detach().cpu().clone(),
                    **{key: whole(p, key).cpu() for key in _MOMENTS},
                }
                for name, p in named_trainable(model)
            }

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
        # the last part may be padded, which DeepSpeed's own setter does not allow for
        missing = part.numel() * self.ranks.count - value.numel()
        padded = torch.nn.functional.pad(value.flatten(), (0, missing))
        part.copy_(padded[part.numel() * self.ranks.rank :][: part.numel()])

    @contextmanager
    def _gathered(self, model: Any) -> Iterator[None]:
        import deepspeed

        if self._depth:
            yield
            return
        offload = self._optimizer.parameter_offload
        gather = deepspeed.zero.GatheredParameters(list(model.parameters()))
        with self.ranks.waiting("gathering weights"):
            gather.__enter__()
        self._depth += 1
        for parameter in model.parameters():
            parameter.ds_active_sub_modules.clear()
        for hook in (*offload.forward_hooks, *offload.backward_hooks):
            hook.remove()
        offload.forward_hooks, offload.backward_hooks = [], []
        try:
            yield
        finally:
            self._depth -= 1
            offload._register_deepspeed_module(offload.module)
            with self.ranks.waiting("scattering weights"):
                gather.__exit__(None, None, None)
