"""Low-rank adapters (LoRA, arXiv 2106.09685; QLoRA, arXiv 2305.14314) through peft: put into the
model's own layers, so that everything else sees the same transformers model.

A stage has an adapter of its own, on what the stage began with; the adapters of stages before are
merged into that. So the reference of a stage is its model with the adapter off.
"""

from __future__ import annotations

import copy
import importlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrl.config.lora import LoraConfig
from mmrl.config.schema import Run
from mmrl.errors import ConfigError, RunError
from mmrl.parts import ADAPTED, parts_of

ADAPTER = "default"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_BASE = "adapter_base.json"
_PREFIX = "base_model.model."


def is_adapter(folder: Path | None) -> bool:
    """Whether a checkpoint holds an adapter, and not whole weights."""
    return folder is not None and (folder / CONFIG).is_file()


def is_adapter_weight(name: str) -> bool:
    """Whether a parameter's name is that of an adapter."""
    return ".lora_" in name


def check_lora(config: LoraConfig, device: str) -> None:
    """Refuse what this machine cannot do.

    Raises:
        ConfigError: a package or a GPU is missing.
    """
    if find_spec("peft") is None:
        raise ConfigError("model.lora: peft is not installed; pip install 'mmrl-toolkit[peft]'")
    if config.quantize == "none":
        return
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            "model.lora.quantize: nf4 needs bitsandbytes, which is not installed; "
            "pip install 'mmrl-toolkit[bitsandbytes]', or use quantize=none"
        )
    if device == "cpu" or not torch.cuda.is_available():
        raise ConfigError(
            "model.lora.quantize: nf4 needs a GPU, and torch sees none; use quantize=none"
        )


def check_adapters(run: Run) -> None:
    """Refuse what this machine cannot do, before anything is loaded.

    Raises:
        ConfigError: a package or a GPU is missing for a stage's adapter.
    """
    for stage in run.stages.values():
        if stage.model.lora is not None:
            check_lora(stage.model.lora, stage.model.device)


def quantization(config: LoraConfig | None, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of `from_pretrained` that hold the weights in four bits, where that is asked."""
    if config is None or config.quantize == "none":
        return {}
    from transformers import BitsAndBytesConfig

    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_use_double_quant=True,
    )
    return {"quantization_config": four_bits, "device_map": {"": torch.cuda.current_device()}}


def add_adapter(model: Any, config: LoraConfig, *, seed: int) -> None:
    """Put a fresh adapter into the model's layers; nothing else learns from now on.

    Raises:
        ConfigError: no layer is chosen.
    """
    import peft

    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=config.dropout,
        target_modules=chosen_layers(model, config),
        use_rslora=config.rslora,
        use_dora=config.dora,
    )
    _inject(model, settings, seed=seed)


def chosen_layers(model: Any, config: LoraConfig) -> list[str]:
    """The names of the linear layers that get an adapter.

    Raises:
        ConfigError: an expression matches none.
    """
    parts = parts_of(model)
    linear = [name for name, one in model.named_modules() if isinstance(one, torch.nn.Linear)]
    if isinstance(config.targets, str):
        wanted = ADAPTED[config.targets]
        chosen = [name for name in linear if parts[name] in wanted]
    else:
        linear = [name for name in linear if parts[name] != "head"]
        for pattern in config.targets:
            if not any(re.search(pattern, name) for name in linear):
                raise ConfigError(
                    f"model.lora.targets: {pattern!r} matches no linear layer; names look like "
                    f"{linear[0]!r}"
                )
        chosen = [name for name in linear if any(re.search(p, name) for p in config.targets)]
    return sorted(chosen)


def save_adapter(
    model: Any, folder: Path, *, base: Mapping[str, Any], weights: Mapping[str, Tensor] | None
) -> None:
    """Write the adapter as peft and vLLM load it, and which weights it belongs to.

    Args:
        model: The model with the adapter.
        folder: The checkpoint.
        base: What `load_policy` made the other weights from.
        weights: All weights by name, where the model does not hold its own whole.
    """
    from safetensors.torch import save_file

    found = dict(model.named_parameters()) if weights is None else weights
    tensors = {
        _PREFIX + name.replace(f".{ADAPTER}", ""): weight.detach().cpu().contiguous()
        for name, weight in found.items()
        if is_adapter_weight(name)
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    settings = copy.deepcopy(model.peft_config[ADAPTER])
    settings.base_model_name_or_path = str(base.get("path") or "")
    settings.save_pretrained(str(folder))
    path = base.get("path")
    if path is not None and Path(path).is_dir():
        # A run may be moved with all of its checkpoints.
        base = {**base, "path": os.path.relpath(path, folder), "beside": True}
    (folder / _BASE).write_text(json.dumps(base, indent=1))
    model.config.save_pretrained(folder)


def load_adapter(model: Any, folder: Path) -> None:
    """Put saved weights into the model's adapter.

    Raises:
        RunError: they are not of this adapter.
    """
    from safetensors.torch import load_file

    saved = load_file(folder / WEIGHTS)
    own = {
        _PREFIX + name.replace(f".{ADAPTER}", ""): parameter
        for name, parameter in model.named_parameters()
        if is_adapter_weight(name)
    }
    if {name: weight.shape for name, weight in saved.items()} != {
        name: parameter.shape for name, parameter in own.items()
    }:
        raise RunError(
            f"{folder}: its adapter has other layers or another rank than model.lora; "
            "keep model.lora as it was"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(saved[name])


def base_of(folder: Path) -> dict[str, Any]:
    """What the weights under a saved adapter were made from.

    Raises:
        ConfigError: the folder does not say.
    """
    try:
        base = json.loads((folder / _BASE).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder}: an adapter without {_BASE}; export it whole where it was trained "
            "(mmrl export RUN out=DIR merge=true)"
        ) from error
    if base.pop("beside", False):
        base["path"] = str((folder / base["path"]).resolve())
    return base


def merge_saved(model: Any, folder: Path) -> None:
    """Merge a saved adapter into the model's own weights."""
    import peft

    _inject(model, peft.LoraConfig.from_pretrained(str(folder)), seed=0)
    load_adapter(model, folder)
    for name, layer in list(_layers(model)):
        layer.merge(adapter_names=[ADAPTER])
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    del model.peft_config


def merged_layers(model: Any) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """The layers with an adapter by name, and what gives their weight with the adapter merged in:
    made when it is called, while the layer itself stays as it is.
    """
    for name, layer in _layers(model):
        yield name, lambda layer=layer: _merged(layer)


@contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    """While inside, the model answers as it did when the stage began."""
    layers = [layer for _, layer in _layers(model)]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def _layers(model: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(model, "peft_config"):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer):
            yield name, layer


def _merged(layer: Any) -> Tensor:
    merged = copy.deepcopy(layer)
    merged.merge(adapter_names=[ADAPTER])
    weight = merged.get_base_layer().weight
    if hasattr(weight, "quant_state"):
        functional: Any = importlib.import_module("bitsandbytes.functional")
        return functional.dequantize_4bit(weight.data, weight.quant_state)
    return weight


def _inject(model: Any, settings: Any, *, seed: int) -> None:
    import peft

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(settings, model, adapter_name=ADAPTER)
    model.peft_config = {ADAPTER: settings}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_adapter_weight(name))
        if is_adapter_weight(name):
            parameter.data = parameter.data.float()
