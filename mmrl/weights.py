"""All weights of a policy, whole and under the names of a checkpoint without adapters: what another
engine is given after a step, and what is exported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mmrl.lora import is_adapter_weight, merged_layers

if TYPE_CHECKING:
    from mmrl.families import Family
    from mmrl.model import Policy


def whole_weights(policy: Policy) -> Iterator[tuple[str, Tensor]]:
    """Every weight by the name that the model's own class gives it, adapters merged into it; tied
    weights come under each of their names.

    Where weights are spread over processes, all of them have to walk through this, without
    gradient.
    """
    merged, spread = dict(merged_layers(policy.model)), policy.strategy.keeps_step
    for names in policy.strategy.parts(policy.model):
        for name in names:
            layer, _, own = name.rpartition(".base_layer.")
            if is_adapter_weight(name):
                continue
            if layer in merged and own == "weight":
                yield f"{layer}.weight", merged[layer]().detach()
                continue
            weight = policy.model.get_parameter(name).detach()
            # what is gathered is given back, and who asked may keep it for longer
            yield name.replace(".base_layer.", "."), weight.clone() if spread else weight


def checkpoint_weights(policy: Policy) -> Iterator[tuple[str, Tensor]]:
    """The same under the names of a published checkpoint, one weight at a time: what
    `untied_config` describes.
    """
    from transformers.core_model_loading import revert_weight_conversion

    for name, weight in whole_weights(policy):
        for own, found in revert_weight_conversion(policy.model, {name: weight}).items():
            yield released_name(policy.family, own), found


def released_name(family: Family, name: str) -> str:
    """The name in a released checkpoint of a weight that transformers writes under `name`."""
    for pattern, own in family.released_names:
        name = re.sub(pattern, own, name)
    return family.checkpoint_prefix + name


def untied_config(policy: Policy) -> Any:
    """The configuration under which other engines know the model, with a head of its own, which
    `checkpoint_weights` has: vLLM keeps a packed copy of a tied head on CPUs, and does not renew it
    with the embedding.
    """
    return released_config(policy.model.config, policy.family)


def released_config(own: Any, family: Family) -> Any:
    """The configuration of the model with a head that is not tied. Where training holds a part of a
    model (the thinker of Qwen2.5-Omni), it is that of the whole, without what is not held.
    """
    config = type(own)(**own.to_dict())
    config.architectures = [family.model_class]
    config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False
    if not family.checkpoint_prefix:
        return config
    from transformers import Qwen2_5OmniConfig

    whole = Qwen2_5OmniConfig(thinker_config=config.to_dict(), enable_audio_output=False)
    whole.architectures = ["Qwen2_5OmniForConditionalGeneration"]
    whole.tie_word_embeddings = False
    return whole
