"""Low-rank adapters (LoRA, arXiv 2106.09685; QLoRA, arXiv 2305.14314) through peft: put into the
model's own layers, so that everything else sees the same transformers model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

ADAPTER = "default"


def is_adapter_weight(name: str) -> bool:
    """Whether a parameter's name is that of an adapter."""
    return ".lora_" in name


def merged_layers(model: Any) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """The layers with an adapter by name, and what gives their weight with the adapter merged in:
    made when it is called, while the layer itself stays as it is.
    """
    if not hasattr(model, "peft_config"):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer):
            yield name, lambda layer=layer: _merged(layer)


def _merged(layer: Any) -> Tensor:
    merged = copy.deepcopy(layer)
    merged.merge(adapter_names=[ADAPTER])
    return merged.get_base_layer().weight
