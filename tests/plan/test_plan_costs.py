"""Operations, bytes and seconds against numbers worked by hand and against torch."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from mmrl.plan.advice import advise
from mmrl.plan.dimensions import PUBLISHED, TINY
from mmrl.plan.hardware import GPUS
from mmrl.plan.media import Shown
from mmrl.plan.memory import decoder_layer_bytes, predict_memory
from mmrl.plan.parameters import count_parameters
from mmrl.plan.plan import make_plan
from mmrl.plan.seconds import seconds_of
from mmrl.plan.step import Part, Prompts, forward_tokens
from mmrl.plan.work import Work, causal_pairs, phases

SEVEN = PUBLISHED["qwen2.5-vl-7b"]
N = 8_292_166_656
"""Parameters of Qwen2.5-VL-7B."""
PICTURE = Shown(tokens=30, units=112)


def test_a_token_is_two_operations_per_weight_and_four_per_pair(toy_step):
    step = toy_step(prompts=Prompts(text_tokens=3, completion_tokens=2), prompt_count=1)
    text = TINY["qwen2_5_vl"].text

    # packed: the prompt's 3 tokens see 1 + 2 + 3; each of 4 completions' 2 see 3 + 1 and 3 + 2
    assert causal_pairs(step, Part(1, 4)) == 6 + 4 * (4 + 5)
    work = phases(step)["forward"]
    weights = count_parameters(TINY["qwen2_5_vl"]).all.decoder
    assert work.decoder_flops == 2 * weights * 11 + 4 * 4 * 32 * text.layers * 42
    assert work.head_flops == 2 * 128 * 990 * 8


def test_forward_and_backward_count_what_torch_counts(toy_step):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from mmrl.tiny.models import build_tiny

    model, _ = build_tiny("qwen2_5_vl", seed=0)
    model.set_attn_implementation("eager")
    ids_BT = torch.randint(20, 900, (16, 50))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids_BT, logits_to_keep=10).logits.sum().backward()

    found = phases(toy_step(sharing="none"))
    predicted = found["forward"].flops + found["backward"].flops
    # eager attention computes the masked half too, and saves what the fast kernels recompute
    assert predicted == pytest.approx(counter.get_total_flops(), rel=0.04)


def test_backward_is_twice_forward_and_once_more_with_checkpointing(toy_step):
    step = toy_step(prompts=Prompts(text_tokens=1, completion_tokens=1), prompt_count=1)
    plain, anew = (phases(dataclasses.replace(step, checkpointing=on)) for on in (False, True))
    forward = plain["forward"].decoder_flops

    assert plain["backward"].decoder_flops == pytest.approx(2 * forward, rel=0.01)
    assert anew["backward"].decoder_flops == plain["backward"].decoder_flops + forward


def test_frozen_towers_are_not_run_when_completions_are_scored(toy_step):
    frozen = count_parameters(TINY["qwen2_5_vl"], ["visual"])
    prompts = Prompts(text_tokens=40, completion_tokens=10, seen=(PICTURE,))
    found = phases(toy_step(parameters=frozen, prompts=prompts))

    assert found["rollout: encoders"].encoder_flops > 0
    assert found["forward"].encoder_flops == found["backward"].encoder_flops == 0


@pytest.mark.parametrize("group_size", [1, 2, 16])
@pytest.mark.parametrize("micro_tokens", [1, 300, 10_000])
def test_sharing_more_never_costs_more(toy_step, group_size, micro_tokens):
    prompts = Prompts(text_tokens=40, completion_tokens=10, seen=(PICTURE,))
    packed, encoder, none = (
        toy_step(prompts=prompts, group_size=group_size, micro_tokens=micro_tokens, sharing=sharing)
        for sharing in ("packed", "encoder", "none")
    )

    assert forward_tokens(packed) <= forward_tokens(encoder) <= forward_tokens(none)
    flops = [sum(work.flops for work in phases(s).values()) for s in (packed, encoder, none)]
    assert flops == sorted(flops)


def test_a_group_that_fits_has_the_tokens_of_the_bound(toy_step):
    packed, none = (toy_step(sharing=s, micro_tokens=80) for s in ("packed", "none"))

    # G (P + C) / (P + G C) = 4 * 50 / 80
    assert forward_tokens(none) / forward_tokens(packed) == 2.5


def test_passes_that_a_step_does_not_make_cost_nothing(toy_step):
    assert "reference" not in phases(toy_step())
    assert "old log-probs" not in phases(toy_step())
    full = phases(toy_step(reference=True, old_passes=1, epochs=2))
    assert full["reference"] == full["old log-probs"]
    assert full["forward"].flops == 2 * full["reference"].flops
    assert set(phases(toy_step(engine="", learns=False))) == set()


@pytest.mark.parametrize(
    ("strategy", "world", "weights", "states", "gradients"),
    [
        ("single", 1, 4 * N, 8 * N, 4 * N),
        ("ddp", 8, 4 * N, 8 * N, 4 * N),
        # the float32 weights of the share are kept once more
        ("zero2", 8, 4 * N, 8 * N / 8 + 4 * N / 8, 4 * N / 8),
        ("zero3", 8, 4 * N / 8, 8 * N / 8 + 4 * N / 8, 4 * N / 8),
        ("fsdp2", 8, 4 * N / 8, 8 * N / 8, 4 * N / 8),
    ],
)
def test_what_is_shared_out_is_divided_by_the_processes(
    toy_step, strategy, world, weights, states, gradients
):
    step = toy_step(
        model=SEVEN,
        parameters=count_parameters(SEVEN),
        strategy=strategy,
        world=world,
    )
    memory = predict_memory(step, GPUS["h100"])

    assert memory.always["weights"] == weights
    share = memory.always.get("weights of the share", 0)
    assert memory.always["optimizer states"] + share == states
    assert memory.update["gradients"] == gradients


def test_the_cache_of_the_7b_is_counted_by_hand(toy_step):
    # keys and values of 4 heads of 128 in 28 layers, float32: 8 * 4 * 128 * 28 = 114,688 a token
    step = toy_step(model=SEVEN, parameters=count_parameters(SEVEN))
    cache = predict_memory(step, GPUS["h100"]).rollout["key-value cache"]

    assert cache == 16 * 50 * 114_688


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_layer_keeps_for_backward_what_torch_keeps(toy_step, dtype):
    import torch

    from mmrl.tiny.models import build_tiny

    model, _ = build_tiny("qwen2_5_vl", seed=0)
    kept: dict[int, int] = {p.untyped_storage().data_ptr(): 0 for p in model.parameters()}
    held = []

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage.nbytes())
        held.append(tensor)
        return tensor

    decoder, ids_1T = model.get_decoder(), torch.randint(20, 900, (1, 256))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"),
    ):
        decoder(input_ids=ids_1T, use_cache=False)

    # autocast's copies of the weights are counted by themselves
    weights = sum(p.numel() for p in decoder.layers.parameters() if p.dim() > 1)
    found = sum(kept.values()) - (2 * weights if dtype == "bfloat16" else 0)
    assert decoder_layer_bytes(toy_step(dtype=dtype)) == pytest.approx(found / 256 / 4, rel=0.15)


def test_the_longer_of_operations_and_bytes_binds(toy_step):
    device = dataclasses.replace(GPUS["h100"], flops_share=1.0, bandwidth_share=1.0)
    step = toy_step(dtype="bfloat16")

    products = seconds_of(Work(decoder_flops=989e12, product_bytes=3.35e11), device, step)
    assert (products.total, products.binds) == (1.0, "FLOPs")
    weights = seconds_of(Work(decoder_flops=989e11, product_bytes=6.7e12), device, step)
    assert (weights.total, weights.binds) == (2.0, "memory bandwidth")
    sent = seconds_of(Work(decoder_flops=989e12, link_bytes=9e11), device, step)
    assert (sent.total, sent.binds) == (3.0, "interconnect")
    starts = seconds_of(Work(decoder_flops=989e9, kernels=1e6), device, step)
    assert (starts.total, starts.binds) == (8.0, "kernel launches")


def test_more_of_anything_never_takes_less(toy_step):
    base = toy_step(
        model=SEVEN,
        parameters=count_parameters(SEVEN),
        prompts=Prompts(text_tokens=40, completion_tokens=10, seen=(PICTURE,)),
    )
    first = make_plan(base, GPUS["h100"])
    for changes in (
        {"prompt_count": 8},
        {"group_size": 8},
        {"prompts": dataclasses.replace(base.prompts, text_tokens=400)},
        {"prompts": dataclasses.replace(base.prompts, completion_tokens=100)},
    ):
        more = make_plan(dataclasses.replace(base, **changes), GPUS["h100"])
        assert more.step_s > first.step_s
        assert more.memory.peak >= first.memory.peak


def test_the_smallest_change_that_fits_is_advised(toy_step):
    step = toy_step(micro_tokens=16_384, prompt_count=64, max_batch=4)
    checkpointing = dataclasses.replace(step, checkpointing=True)
    enough = predict_memory(checkpointing, GPUS["h100"]).peak * 1.01
    plan = make_plan(step, dataclasses.replace(GPUS["h100"], memory=enough))

    assert plan.binds == "memory capacity"
    assert advise(plan) == "model.gradient_checkpointing=true"


def test_where_no_key_helps_nothing_is_advised(toy_step):
    nothing = dataclasses.replace(GPUS["h100"], memory=1.0, link=0.0)
    assert advise(make_plan(toy_step(), nothing)) == ""


def test_a_gpu_that_is_better_in_all_is_never_slower():
    pairs = itertools.pairwise(("a100", "h100", "h200"))
    for worse, better in pairs:
        one, other = GPUS[worse], GPUS[better]
        assert other.bfloat16_flops >= one.bfloat16_flops
        assert other.bandwidth >= one.bandwidth
        assert other.memory >= one.memory
