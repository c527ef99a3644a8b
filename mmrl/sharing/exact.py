"""Runs a policy in float32, whatever its weights are held in: in bfloat16, two orders of one sum
differ by more than a wrong mask may make them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from mmrl.model import Policy


@contextmanager
def exactly(policy: Policy) -> Iterator[Policy]:
    """The policy in float32 and without dropout while inside.

    Weights are widened module by module as they run: they may be in parts, and are never there
    twice.
    """
    model = policy.model
    was_training = model.training
    with ExitStack() as hooks:
        for module in model.modules():
            if any(p.dtype == torch.bfloat16 for p in module.parameters(recurse=False)):
                _widen(module, hooks)
        model.eval()
        try:
            yield dataclasses.replace(policy, dtype=torch.float32)
        finally:
            model.train(was_training)


def _widen(module: Any, hooks: ExitStack) -> None:
    kept: list[dict[str, Any]] = []

    def before(_: Any, arguments: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        kept.append(dict(module._parameters))
        for key, weight in kept[-1].items():
            if weight is not None and weight.dtype == torch.bfloat16:
                wide = torch.nn.Parameter(weight.detach().float(), requires_grad=False)
                module._parameters[key] = wide
        return tuple(map(_wide, arguments)), {key: _wide(value) for key, value in kwargs.items()}

    def after(*_: Any) -> None:
        for key, weight in kept.pop().items():
            module._parameters[key] = weight

    # Inside the hooks of those who gather a module's weights and give them back, and also when a
    # pass is left early.
    first = module.register_forward_pre_hook(before, with_kwargs=True)
    last = module.register_forward_hook(after, prepend=True, always_call=True)
    hooks.callback(first.remove)
    hooks.callback(last.remove)


def _wide(value: Any) -> Any:
    narrow = isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16
    return value.float() if narrow else value
