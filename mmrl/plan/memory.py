"""Predicts the memory of one process: what is always there, and what sampling, the update and the
optimizer's step add to it at their highest.

Weights, gradients and both moments of AdamW are float32, 16 bytes per parameter that learns. ZeRO-2
(arXiv 1910.02054) shares out gradients and moments, ZeRO-3 weights too; both keep the float32
weights of a process's share once more. Autocast keeps a bfloat16 copy of the weights that learn
while a forward pass runs. Where only an adapter learns, the weights under it are held in the
precision of the forward pass, or in four bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmrl.plan.dimensions import Audio, Vision
from mmrl.plan.hardware import Device
from mmrl.plan.media import Shown
from mmrl.plan.step import Part, Step, parts
from mmrl.plan.work import cache_bytes, logits_at_once, prompts_at_once

_BUCKET = 5e8
"""Elements that DeepSpeed reduces at a time, unless told otherwise."""
_SUM = 2**25
"""Elements that mmrl adds up at a time where every process holds everything."""
_LIVE = 1e9
"""Parameters that ZeRO-3 keeps gathered at most, unless told otherwise."""
_STATES = {"adamw": 8.0, "adamw_fused": 8.0, "adamw_8bit": 2.03, "paged_adamw_8bit": 2.03}
"""Bytes per parameter that learns; blocks of 256 values have two scales."""
_NF4 = 0.516
"""Bytes per parameter, with scales that are quantised themselves (arXiv 2305.14314)."""

Items = Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes by what they hold."""

    always: Items
    rollout: Items
    update: Items
    optimizer: Items

    @property
    def phases(self) -> dict[str, float]:
        """The peak of each phase, what is always there included."""
        base = sum(self.always.values())
        own = {"rollout": self.rollout, "update": self.update, "optimizer": self.optimizer}
        return {name: base + sum(items.values()) for name, items in own.items() if items}

    @property
    def peak(self) -> float:
        """The highest of them."""
        return max(self.phases.values())


def predict_memory(step: Step, device: Device) -> Memory:
    """The memory of one process on the device."""
    all_, learning = step.parameters.all.total, step.parameters.learning.total
    always = {"weights": _weights(step) / step.weights_over, "device context": device.context}
    if step.learns:
        always["optimizer states"] = _STATES[step.optimizer] * learning / step.states_over
        if step.strategy in ("zero2", "zero3"):
            always["weights of the share"] = 4.0 * learning / step.states_over
    if step.reference and not step.adapter_on:
        always["reference"] = 4.0 * all_ / step.weights_over
    if step.engine == "vllm":
        own = 2.0 * all_ / step.vllm_over
        always["vLLM"] = max(step.vllm_share * device.memory, own)
    gradients = 4.0 * learning / step.states_over
    foreach = gradients if device.asynchronous and step.optimizer == "adamw" else 0.0
    return Memory(
        always=always,
        rollout=_rollout(step) if step.engine == "hf" else {},
        update={"gradients": gradients} | _update(step) if step.learns else {},
        optimizer={"gradients": gradients, "AdamW's temporaries": foreach} if step.learns else {},
    )


def predict_host(step: Step) -> dict[str, float]:
    """Bytes of the first node's own memory beyond the data: while weights are loaded, and while a
    checkpoint is written.

    Every process loads all weights on its way to the device; but where weights are shared out, the
    first process alone does, and hands them out. It alone gathers what is saved: moments, and then
    weights.
    """
    processes = 1 if step.weights_over > 1 else step.world // step.nodes
    found = {"loading": processes * _weights(step)}
    if step.learns:
        learning = step.parameters.learning.total
        saved = 4.0 * (learning if step.adapter_on else step.parameters.all.total)
        found["saving"] = max(_STATES[step.optimizer] * learning, saved)
    return found


def _weights(step: Step) -> float:
    """Of the whole model: float32 where they learn, and where nothing else was asked for."""
    all_ = step.parameters.all
    if not step.adapter_on:
        return 4.0 * all_.total
    own = 4.0 * step.parameters.learning.total
    if step.adapter_on == "nf4":
        # embedding and head are no layers that are quantised
        edges = all_.embedding + all_.head
        return own + 4.0 * edges + _NF4 * (all_.total - edges)
    return own + (4.0 if step.adapter_on == "float32" else 2.0) * all_.total


def _rollout(step: Step) -> dict[str, float]:
    text = step.model.text
    prompts = prompts_at_once(step)
    rows = prompts * step.group_size
    own = step.prompts.tokens + step.prompts.completion_tokens
    width = 4 if step.dtype == "float32" else 3
    # a layer's inputs, and the widest of its tensors
    decoder = prompts * step.prompts.tokens * (6 * text.hidden * 4 + 3 * text.intermediate * width)
    items = {
        "key-value cache": rows * own * cache_bytes(step),
        "prefill": max(decoder, prompts * _tower_transient(step)),
        # float32 logits and log-probs, and their cumulative sum in float64
        "logits": 40.0 * rows * text.vocabulary,
    }
    if step.weights_over > 1:
        items["gathered weights"] = _weights(step)
    return items | _copies(step)


def _update(step: Step) -> dict[str, float]:
    items = max(
        (_activations(step, part) for part in parts(step)), key=lambda found: sum(found.values())
    )
    if step.strategy != "zero3":
        # which gathers weights in the precision that they are used in
        items |= _copies(step)
    learning, all_ = step.parameters.learning.total, step.parameters.all.total
    bucket = {"ddp": _SUM, "zero2": _BUCKET, "zero3": _BUCKET}.get(step.strategy, 0.0)
    items["gradient buckets"] = 4.0 * min(bucket, learning)
    if step.strategy == "zero3":
        items["gathered weights"] = 4.0 * min(_LIVE, all_)
    elif step.strategy == "fsdp2":
        # two layers, and what is in no layer
        layers = step.parameters.all.decoder / step.model.text.layers
        edges = step.parameters.all.embedding + step.parameters.all.head
        items["gathered weights"] = 8.0 * layers + 4.0 * edges
    return items


def _copies(step: Step) -> dict[str, float]:
    """Autocast's bfloat16 copies of the weights that learn."""
    learning = step.parameters.learning
    if step.dtype == "float32":
        return {}
    return {"bfloat16 copies": 2.0 * (learning.total - learning.embedding)}


def _activations(step: Step, part: Part) -> dict[str, float]:
    """What the backward pass of a micro-batch needs."""
    text = step.model.text
    tokens, own = part.tokens(step), part.rows * step.prompts.completion_tokens
    layer = tokens * decoder_layer_bytes(step)
    edges = tokens * text.hidden * 4.0
    # the gradients of a layer's tensors live beside them
    decoder = edges * text.layers + 1.5 * layer if step.checkpointing else layer * text.layers
    chunk = min(own, logits_at_once(step))
    return {
        "decoder's activations": decoder + 3 * edges,
        "towers' activations": part.encoded(step) * _towers(step),
        "logits": 20.0 * chunk * text.vocabulary,
    }


def _towers(step: Step) -> float:
    """Of one prompt's media; none where the features are given."""
    if not step.encoders_learn:
        return 0.0
    total = 0.0
    for tower, shown_all in _media(step):
        layer = tower_layer_bytes(step, tower.hidden, tower.intermediate)
        for shown in shown_all:
            edges = shown.units * tower.hidden * 4.0
            layers = edges * tower.depth + 1.5 * shown.units * layer
            total += layers if step.checkpointing else shown.units * layer * tower.depth
            total += 5 * edges + shown.units * _pixels(step)
    return total


def _pixels(step: Step) -> float:
    """Of a patch, which the first product keeps."""
    vision = step.model.vision
    width = 4 if step.dtype == "float32" else 2
    return 0.0 if vision is None else width * 3.0 * 2 * vision.patch**2


def _tower_transient(step: Step) -> float:
    """What one prompt's media take in the towers when nothing is kept for a backward pass."""
    return max(
        (
            sum(shown.units for shown in shown_all)
            * (8 * tower.hidden * 4 + 3 * tower.intermediate * 4)
            for tower, shown_all in _media(step)
        ),
        default=0.0,
    )


def _media(step: Step) -> list[tuple[Vision | Audio, tuple[Shown, ...]]]:
    towers = ((step.model.vision, step.prompts.seen), (step.model.audio, step.prompts.heard))
    return [(tower, shown) for tower, shown in towers if tower is not None]


def decoder_layer_bytes(step: Step) -> float:
    """Kept per token by one layer of the decoder for its backward pass.

    Both norms keep their input, what they make of it and what they give; attention keeps queries,
    keys, values and its output, twice; the gated MLP four tensors of its width. Under autocast
    every product keeps a bfloat16 copy of its input.
    """
    text = step.model.text
    queries, keys = text.heads * text.head_dim, 2 * text.kv_heads * text.head_dim
    normed = 2 * (queries + keys // 2) * 4 if step.model.family == "qwen3_vl" else 0
    if step.dtype == "bfloat16":
        kept = 26 * text.hidden + 2 * (3 * queries + keys) + 8 * text.intermediate
        return float(kept + normed)
    return float(4 * (6 * text.hidden + 3 * queries + keys + 4 * text.intermediate) + normed)


def tower_layer_bytes(step: Step, hidden: int, inner: int) -> float:
    """Kept per patch or position by one layer of a tower for its backward pass."""
    gated = step.model.family in ("qwen2_5_vl", "qwen2_5_omni")
    wide = 4 if gated else 2
    if step.dtype == "bfloat16":
        return float((38 if gated else 30) * hidden + 2 * wide * inner)
    return float(4 * ((13 if gated else 11) * hidden + wide * inner))
