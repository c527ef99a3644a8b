"""The layers that low-rank adapters can stand on, and how many parameters the adapters have: for a
layer of so many inputs and outputs, the rank times both (LoRA, arXiv 2106.09685).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mmrl.config.lora import LoraConfig
from mmrl.errors import ConfigError
from mmrl.parts import ADAPTED, Part, encoder_part
from mmrl.plan.dimensions import Dimensions
from mmrl.plan.parameters import Counts, named_parameters

_LINEAR = re.compile(
    r"(\.layers|blocks)\.\d+\..*(_proj|qkv|\.proj|\.q|\.k|\.v|fc[12])\.weight$"
    r"|(merger|merger_list\.\d+)\.(mlp\.\d|linear_fc\d)\.weight$"
    r"|(modality_projection\.proj|projector\.linear(_\d)?|audio_tower\.proj)\.weight$"
)
_ENCODER = re.compile(r"visual|vision|audio|connector|projector")


def linear_layers(model: Dimensions) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of every layer that can have an adapter, by name; a head cannot."""
    found = {}
    for name, count in named_parameters(model).items():
        if _LINEAR.search(name):
            inputs = _inputs(model, name)
            found[name.removesuffix(".weight")] = (inputs, count // inputs)
    return found


def adapter_counts(model: Dimensions, config: LoraConfig) -> Counts:
    """The parameters of the adapters, by the part of the model that they stand in.

    Raises:
        ConfigError: an expression matches no layer.
    """
    layers = linear_layers(model)
    sums = {"decoder": 0, "vision": 0, "audio": 0}
    for name in _chosen(layers, config):
        inputs, outputs = layers[name]
        heard = "audio" in name or model.vision is None
        part = ("audio" if heard else "vision") if _ENCODER.search(name) else "decoder"
        sums[part] += config.rank * (inputs + outputs) + config.dora * outputs
    return Counts(**sums)


def part_of(name: str) -> Part:
    """The part of the model that a weight belongs to, by its name in any of the families."""
    if _ENCODER.search(name):
        return encoder_part(name)
    return "head" if name.startswith("lm_head") else "language"


def _chosen(layers: Mapping[str, tuple[int, int]], config: LoraConfig) -> list[str]:
    if isinstance(config.targets, str):
        wanted = ADAPTED[config.targets]
        return [name for name in layers if part_of(name) in wanted]
    for pattern in config.targets:
        if not any(re.search(pattern, name) for name in layers):
            raise ConfigError(
                f"model.lora.targets: {pattern!r} matches no linear layer; names look like "
                f"{next(iter(layers))!r}"
            )
    return [name for name in layers if any(re.search(p, name) for p in config.targets)]


def _inputs(model: Dimensions, name: str) -> int:
    text, vision, audio = model.text, model.vision, model.audio
    if not _ENCODER.search(name):
        if "down_proj" in name:
            return text.intermediate
        return text.heads * text.head_dim if "o_proj" in name else text.hidden
    if audio is not None and ("audio_tower" in name or vision is None):
        return audio.intermediate if name.endswith("fc2.weight") else audio.hidden
    if vision is None:
        raise ValueError(f"{name}: a layer of a tower that the model does not have")
    if re.search(r"merger|modality_projection", name):
        return vision.hidden * vision.merge**2
    if "projector" in name:
        return text.hidden if name.endswith("linear_2.weight") else vision.hidden
    return vision.intermediate if re.search(r"fc2|down_proj", name) else vision.hidden
