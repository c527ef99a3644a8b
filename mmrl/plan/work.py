"""Counts the floating-point operations, the bytes and the started kernels of each phase of a step.

A product with a weight is two operations per element and token, forward, and four backward; a pair
of tokens that attend costs four per element of the heads, and two and a half times that backward
(FlashAttention recomputes, arXiv 2205.14135). What is computed anew because activations are
checkpointed is counted. Bytes are those of weights, of key-value caches, and of the kernels between
the products, which read and write tensors of the activations' size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from mmrl.plan.media import Shown, seen_pairs
from mmrl.plan.step import Part, Step, parts

KERNELS_PER_LAYER = 45
"""Started by an eager forward pass of one layer; backward starts twice as many."""
CASTS_PER_LAYER = 12
"""More of them under autocast: weights and inputs of the products."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a phase asks of the device."""

    encoder_flops: float = 0.0
    decoder_flops: float = 0.0
    head_flops: float = 0.0
    product_bytes: float = 0.0
    """Moved while products are computed: weights, keys and values."""
    other_bytes: float = 0.0
    """Moved by kernels between the products."""
    kernels: float = 0.0
    link_bytes: float = 0.0
    """Sent to other devices."""

    @property
    def flops(self) -> float:
        """All floating-point operations."""
        return self.encoder_flops + self.decoder_flops + self.head_flops

    def __add__(self, other: Work) -> Work:
        return Work(**{name: getattr(self, name) + getattr(other, name) for name in _FIELDS})

    def times(self, count: float) -> Work:
        """The same so many times over."""
        return Work(**{name: getattr(self, name) * count for name in _FIELDS})


_FIELDS = (
    "encoder_flops",
    "decoder_flops",
    "head_flops",
    "product_bytes",
    "other_bytes",
    "kernels",
    "link_bytes",
)


def phases(step: Step) -> dict[str, Work]:
    """The work of each phase of a step, in order; phases that do not occur are left out."""
    found: dict[str, Work] = {}
    if step.engine:
        found["rollout: encoders"] = _encode(step).times(step.prompt_count)
        found["rollout: prefill"] = _prefill(step)
        found["rollout: decode"] = _decode(step)
    scored = _over_parts(step, _score)
    # without a gradient, weights that are shared out are gathered once for all micro-batches
    whole = Work(link_bytes=_gathered(step))
    if step.old_passes:
        found["old log-probs"] = (scored + whole).times(step.old_passes)
    if step.reference:
        found["reference"] = scored + whole
    if step.learns:
        collected = Work(link_bytes=_passed(step))
        forward = scored + collected.times(sum(parts(step).values()))
        found["forward"] = forward.times(step.epochs)
        found["backward"] = _over_parts(step, _backward).times(step.epochs)
        found["optimizer"] = _optimizer(step).times(step.optimizer_steps)
    return {name: work for name, work in found.items() if work != Work()}


def causal_pairs(step: Step, part: Part) -> float:
    """Pairs of tokens that attend to each other in one layer of the decoder."""
    prompt, own = step.prompts.tokens, step.prompts.completion_tokens
    inside = own * (own + 1) / 2
    if step.sharing == "packed":
        shared = part.prompts * prompt * (prompt + 1) / 2
        return shared + part.rows * (own * prompt + inside)
    row = step.row_tokens
    return part.rows * row * (row + 1) / 2


def _over_parts(step: Step, work: Callable[[Step, Part], Work]) -> Work:
    total = Work()
    for part, count in parts(step).items():
        total += work(step, part).times(count)
    return total


def _score(step: Step, part: Part) -> Work:
    """A forward pass with log-probs at its end."""
    work = _decode_layers(step, part.tokens(step), causal_pairs(step, part))
    work += _head(step, part.rows * step.prompts.completion_tokens)
    if step.encoders_learn:
        work += _encode(step).times(part.encoded(step))
    return work


def _backward(step: Step, part: Part) -> Work:
    """A backward pass, and what is computed anew for it."""
    all_, learning = step.parameters.all, step.parameters.learning
    forward = _decode_layers(step, part.tokens(step), causal_pairs(step, part))
    attention = _attention_flops(step, causal_pairs(step, part))
    learns = learning.decoder / all_.decoder
    flops = (forward.decoder_flops - attention) * (1 + learns) + 2.5 * attention
    tokens = part.rows * step.prompts.completion_tokens
    head = _head(step, tokens).head_flops
    anew = head if tokens > logits_at_once(step) else 0.0
    work = Work(
        decoder_flops=flops,
        head_flops=2 * head + anew,
        product_bytes=forward.product_bytes,
        other_bytes=2 * forward.other_bytes + _gradient_bytes(step) * learning.total,
        kernels=2 * forward.kernels,
        link_bytes=_passed(step) + _reduced(step),
    )
    if step.encoders_learn:
        encoded = _encode(step).times(part.encoded(step))
        work += encoded.times(2)
        if step.checkpointing:
            work += encoded
    return work + forward if step.checkpointing else work


def logits_at_once(step: Step) -> int:
    """Tokens whose logits exist at the same time; see mmrl.policy."""
    return max(1, 2**26 // step.model.text.vocabulary)


def _encode(step: Step) -> Work:
    """The media of one prompt through the towers."""
    model, counts = step.model, step.parameters.all
    total = Work()
    for tower, shown_all, count in (
        (model.vision, step.prompts.seen, counts.vision),
        (model.audio, step.prompts.heard, counts.audio),
    ):
        if tower is None or not shown_all:
            continue
        for shown in shown_all:
            total += Work(
                encoder_flops=_tower_flops(step, shown, count, tower.hidden)
                + 4 * tower.hidden * seen_pairs(shown, tower),
                product_bytes=_weight_bytes(step) * count,
                other_bytes=shown.units
                * tower.depth
                * _other_bytes(step, tower.hidden, tower.hidden, tower.intermediate),
                kernels=tower.depth * _kernels(step),
            )
    return total


def _tower_flops(step: Step, shown: Shown, count: int, hidden: int) -> float:
    """Two per weight and unit; the merger's weights meet a token only."""
    vision = step.model.vision
    if vision is None or shown not in step.prompts.seen:
        return 2.0 * count * shown.units
    out, wide = step.model.text.hidden, hidden * vision.merge**2
    family = step.model.family
    if family == "smolvlm":
        merger = wide * out
    elif family == "llava_onevision":
        merger = hidden * out + out * out
    else:
        merger = (wide * wide + wide * out) * (1 + vision.deepstack)
    tables = vision.positions * hidden
    return 2.0 * ((count - merger - tables) * shown.units + merger * shown.units / vision.merge**2)


def _decode_layers(step: Step, tokens: float, pairs: float) -> Work:
    text = step.model.text
    weights = step.parameters.all.decoder
    queries = text.heads * text.head_dim
    both = queries + text.kv_heads * text.head_dim
    return Work(
        decoder_flops=2.0 * weights * tokens + _attention_flops(step, pairs),
        product_bytes=_weight_bytes(step) * weights,
        other_bytes=tokens * text.layers * _other_bytes(step, text.hidden, both, text.intermediate),
        kernels=text.layers * _kernels(step),
    )


def _attention_flops(step: Step, pairs: float) -> float:
    text = step.model.text
    return 4.0 * text.heads * text.head_dim * text.layers * pairs


def _head(step: Step, tokens: float) -> Work:
    text = step.model.text
    logits = tokens * text.vocabulary
    return Work(
        head_flops=2.0 * text.hidden * logits,
        # log-softmax, entropy and the choice of a token read and write float32 logits
        other_bytes=40 * logits,
        kernels=20.0 * math.ceil(tokens / logits_at_once(step)),
    )


def _prefill(step: Step) -> Work:
    """Every prompt once."""
    prompt = step.prompts.tokens
    chunk = prompts_at_once(step)
    work = _decode_layers(step, chunk * prompt, chunk * prompt * (prompt + 1) / 2)
    times = step.prompt_count / chunk
    gathered = 0.0 if step.engine == "vllm" else _gathered(step)
    return work.times(times) + _head(step, step.prompt_count) + Work(link_bytes=gathered)


def _decode(step: Step) -> Work:
    """One token at a time for all completions that are decoded together."""
    text, own = step.model.text, step.prompts.completion_tokens
    rows = prompts_at_once(step) * step.group_size
    seen = step.prompts.tokens + own / 2
    one = _decode_layers(step, rows, rows * seen) + _head(step, rows)
    weights = step.parameters.all.decoder + text.vocabulary * text.hidden
    copies = 1 if step.engine == "vllm" else 3
    work = Work(
        decoder_flops=one.decoder_flops,
        head_flops=one.head_flops,
        product_bytes=_weight_bytes(step, sampling=True) * weights / step.vllm_over
        # a cache that grows by concatenation is read and written whole at every token
        + copies * rows * seen * cache_bytes(step),
        other_bytes=one.other_bytes,
        # captured graphs start as one
        kernels=one.kernels if step.engine != "vllm" else text.layers,
        # two sums of bfloat16 hidden states over the GPUs in every layer
        link_bytes=8.0 * text.layers * rows * text.hidden * (step.vllm_over - 1),
    )
    return work.times(own * step.prompt_count / prompts_at_once(step))


def _optimizer(step: Step) -> Work:
    """AdamW and the clipping of the gradient; what is shared out travels: gradients are added up,
    and weights sent back.
    """
    learning = step.parameters.learning.total
    sent = {"ddp": 8.0, "zero2": 4.0}.get(step.strategy, 0.0) * learning * _others(step)
    return Work(other_bytes=40.0 * learning / step.states_over, kernels=50.0, link_bytes=sent)


def prompts_at_once(step: Step) -> int:
    """Prompts whose completions are decoded together."""
    return max(1, min(step.prompt_count, step.max_batch // step.group_size))


def cache_bytes(step: Step) -> float:
    """Of the keys and values of one token in all layers; under autocast rotary positions leave keys
    in float32.
    """
    text = step.model.text
    width = 8.0 if step.dtype == "float32" else 4.0 if step.engine == "vllm" else 6.0
    return width * text.kv_heads * text.head_dim * text.layers


def _weight_bytes(step: Step, *, sampling: bool = False) -> float:
    """Per weight of one pass: autocast reads float32, writes bfloat16 and reads that."""
    if sampling and step.engine == "vllm":
        return 2.0 if step.dtype == "bfloat16" else 4.0
    return 8.0 if step.dtype == "bfloat16" else 4.0


def _gradient_bytes(step: Step) -> float:
    """Per weight of one backward pass, to add its gradient to those before."""
    return 20.0 if step.dtype == "bfloat16" else 16.0


def _other_bytes(step: Step, hidden: int, turned: int, inner: int) -> float:
    """Moved per token and layer by norms (in float32), residuals, rotations and activations."""
    if step.dtype == "bfloat16":
        return 4 * 20 * hidden + 30 * hidden + 46 * turned + 10 * inner
    return 4 * (20 * hidden + 12 * turned + 5 * inner)


def _kernels(step: Step) -> float:
    return KERNELS_PER_LAYER + (CASTS_PER_LAYER if step.dtype == "bfloat16" else 0)


def _others(step: Step) -> float:
    """The share of what is gathered that comes from others."""
    return (step.world - 1) / step.world


def _gathered(step: Step) -> float:
    """Bytes of float32 weights that a process collects to have all of them once."""
    return 4.0 * step.parameters.all.total * _others(step) if step.weights_over > 1 else 0.0


def _passed(step: Step) -> float:
    """Bytes of weights that a pass with gradient collects, in the precision that it computes in."""
    return _gathered(step) * (0.5 if step.dtype == "bfloat16" else 1.0)


def _reduced(step: Step) -> float:
    """Bytes of gradients that every backward pass sends."""
    learning = 4.0 * step.parameters.learning.total * _others(step)
    return learning if step.states_over > 1 else 0.0
