"""Tells a plan: as text for people, and as one object for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mmrl.plan.advice import advise
from mmrl.plan.hardware import GIB
from mmrl.plan.memory import predict_host
from mmrl.plan.plan import Plan
from mmrl.plan.step import forward_tokens, parts


def as_object(plan: Plan) -> dict[str, Any]:
    """The plan as plain values: bytes, tokens, operations and seconds, of one process."""
    step, memory = plan.step, plan.memory
    phases = {
        name: {
            "flops": work.flops,
            "encoder_flops": work.encoder_flops,
            "decoder_flops": work.decoder_flops,
            "head_flops": work.head_flops,
            "seconds": plan.seconds[name].total,
            "limits": plan.seconds[name].limits,
            "binds": plan.seconds[name].binds,
        }
        for name, work in plan.work.items()
    }
    return {
        "device": plan.device.name,
        "processes": step.world,
        "strategy": step.strategy,
        "sharing": step.sharing,
        "engine": step.engine,
        "parameters": step.parameters.all.total,
        "learning": step.parameters.learning.total,
        "tokens": {
            "prompt": step.prompts.tokens,
            "completion": step.prompts.completion_tokens,
            "prompts": step.prompt_count,
            "completions": step.rows,
            "pass": forward_tokens(step),
            "pass_without_sharing": step.rows * step.row_tokens,
            "micro_batches": sum(parts(step).values()),
        },
        "memory": {
            "always": dict(memory.always),
            "rollout": dict(memory.rollout),
            "update": dict(memory.update),
            "optimizer": dict(memory.optimizer),
            "peaks": memory.phases,
            "peak": memory.peak,
            "limit": plan.device.memory,
            "host": predict_host(step),
        },
        "phases": phases,
        "step_s": plan.step_s,
        "utilisation": plan.utilisation,
        "fits": plan.fits,
        "binds": plan.binds,
        "change": advise(plan),
    }


def as_text(plan: Plan, *, title: str) -> str:
    """The plan as a page."""
    return "\n".join([*_head(plan, title), "", *_memory(plan), "", *_times(plan), "", _end(plan)])


def _head(plan: Plan, title: str) -> Iterator[str]:
    step = plan.step
    counts = step.parameters
    yield f"{title}: {_billions(counts.all.total)} parameters, of which " + (
        f"{_billions(counts.learning.total)} learn" if step.learns else "none learn"
    )
    yield (
        f"{step.world} x {plan.device.name}, strategy {step.strategy}, sharing {step.sharing}, "
        f"{step.dtype}" + (f", engine {step.engine}" if step.engine else "")
    )
    media = sum(shown.tokens for shown in (*step.prompts.seen, *step.prompts.heard))
    yield (
        f"a prompt of {step.prompts.tokens:,} tokens ({media:,} of media), "
        f"completions of {step.prompts.completion_tokens:,}"
    )
    whole, shared = step.rows * step.row_tokens, forward_tokens(step)
    yield (
        f"per process and step {step.prompt_count:,} prompts, {step.rows:,} completions; "
        f"a pass has {shared:,} tokens in {sum(parts(step).values()):,} micro-batches "
        f"({whole:,} without sharing, {whole / max(shared, 1):.2f} times)"
    )
    group = step.prompts.tokens + step.group_size * step.prompts.completion_tokens
    if step.learns and step.sharing == "packed" and group > step.micro_tokens:
        together = forward_tokens(replace(step, micro_tokens=group))
        yield (
            f"a group has {group:,} tokens and is split, its prompt run once per part; with "
            f"optim.micro_tokens={group} a pass would have {together:,}"
        )


def _memory(plan: Plan) -> Iterator[str]:
    memory = plan.memory
    yield f"{'memory of a process, GiB':36}"
    for label, items in (
        ("", memory.always),
        ("rollout: ", memory.rollout),
        ("update: ", memory.update),
        ("optimizer: ", memory.optimizer),
    ):
        for name, value in items.items():
            if value:
                yield f"  {label + name:34} {_gib(value)}"
    peaks = ", ".join(f"{name} {_gib(value).strip()}" for name, value in memory.phases.items())
    yield f"  {'highest':34} {_gib(memory.peak)} of {_gib(plan.device.memory).strip()} ({peaks})"
    if plan.device.link:
        host = predict_host(plan.step).items()
        found = ", ".join(f"{name} {_gib(value).strip()}" for name, value in host)
        yield f"  the first node's own memory: {found}"


def _times(plan: Plan) -> Iterator[str]:
    yield f"{'a step':26} {'TFLOP':>10} {'encoders':>9} {'head':>6} {'seconds':>10}  limit"
    for name, work in plan.work.items():
        seconds = plan.seconds[name]
        flops = work.flops or 1
        yield (
            f"  {name:24} {_short(work.flops / 1e12)} {work.encoder_flops / flops:>9.0%} "
            f"{work.head_flops / flops:>6.0%} {_short(seconds.total)}  {seconds.binds}"
        )
    total = sum(work.flops for work in plan.work.values())
    yield (
        f"  {'step':24} {_short(total / 1e12)} {'':>9} {'':>6} {_short(plan.step_s)}  "
        f"{plan.utilisation:.1%} of the peak rate; media and verdicts are not in it"
    )


def _end(plan: Plan) -> str:
    if plan.fits:
        return f"it fits; what binds is {plan.binds}"
    needs = f"does not fit: {_gib(plan.memory.peak).strip()} GiB of "
    needs += f"{_gib(plan.device.memory).strip()}; "
    change = advise(plan)
    return needs + (f"what fits: {change}" if change else "nothing that a key could change fits")


def _billions(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e7 else f"{count / 1e6:.2f} M"


def _gib(value: float) -> str:
    return f"{value / GIB:>10.2f}" if value >= GIB / 10 else f"{value / GIB:>10.4f}"


def _short(value: float) -> str:
    return f"{value:>10.2f}" if value >= 0.1 else f"{value:>10.2g}"
