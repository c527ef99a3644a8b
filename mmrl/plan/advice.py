"""Says which key to change so that a step fits: the smallest change first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mmrl.config.schema import LaunchConfig
from mmrl.plan.plan import Plan, make_plan
from mmrl.plan.step import Step

_MOST_PROCESSES = 4096
_PER_NODE = 8

Change = tuple[tuple[str, ...], Step]
"""Arguments of the command, and the step that they make."""


def advise(plan: Plan) -> str:
    """The change, as arguments of the command; empty where the step fits as it is, or where no
    change helps.
    """
    if plan.fits:
        return ""
    fitting = (names for names, step in _changes(plan) if make_plan(step, plan.device).fits)
    return " ".join(next(fitting, ()))


def _changes(plan: Plan) -> Iterator[Change]:
    """One change, then several, then with more of the model shared out, then on more GPUs."""
    step = plan.step
    for strategy in _strategies(step):
        changed = replace(step, strategy=strategy)
        names = () if strategy == step.strategy else (f"launch.strategy={strategy}",)
        yield names, changed
        for own, single in (*_single(changed), *_several(changed)):
            yield (*names, *own), single
    if plan.device.link:
        yield from _on_more(step)


def _single(step: Step) -> Iterator[Change]:
    if step.learns and not step.checkpointing:
        yield ("model.gradient_checkpointing=true",), replace(step, checkpointing=True)
    for halvings in range(1, 32):
        for key, field, least in _bounds(step):
            value = getattr(step, field) >> halvings
            if value >= least:
                yield (f"{key}={value}",), replace(step, **{field: value})


def _several(step: Step) -> Iterator[Change]:
    """All bounds halved together, again and again, with activations checkpointed."""
    names: tuple[str, ...] = ()
    if step.learns and not step.checkpointing:
        names, step = ("model.gradient_checkpointing=true",), replace(step, checkpointing=True)
    for halvings in range(32):
        values = {
            field: (key, max(least, getattr(step, field) >> halvings))
            for key, field, least in _bounds(step)
            if getattr(step, field) > least
        }
        own = tuple(
            f"{key}={value}"
            for field, (key, value) in values.items()
            if value != getattr(step, field)
        )
        yield (*names, *own), replace(step, **{f: value for f, (_, value) in values.items()})


def _bounds(step: Step) -> list[tuple[str, str, int]]:
    """The keys that bound memory, the fields that they become, and the least that they can be."""
    found = []
    if step.learns:
        found.append(("optim.micro_tokens", "micro_tokens", step.row_tokens))
    if step.engine == "hf":
        found.append(("rollout.max_batch", "max_batch", step.group_size))
    return found


def _on_more(step: Step) -> Iterator[Change]:
    """Twice as many GPUs, and so on, until a strategy that shares out as much as can be fits."""
    rows = step.prompt_count * step.world
    world = 2 * step.world
    while world <= _MOST_PROCESSES:
        more = replace(
            step,
            world=world,
            nodes=max(1, world // _PER_NODE),
            prompt_count=max(1, rows // world),
        )
        names = _processes(world)
        for strategy in ("zero2", "zero3"):
            engines = (step.engine, "vllm") if step.engine == "hf" else (step.engine,)
            for engine in engines:
                given = (*names, f"launch.strategy={strategy}")
                given += ("--engine=vllm",) if engine != step.engine else ()
                for own, changed in _several(replace(more, strategy=strategy, engine=engine)):
                    yield (*given, *own), changed
        world *= 2


def _processes(world: int) -> tuple[str, ...]:
    if world <= _PER_NODE or "nodes" not in LaunchConfig.model_fields:
        return (f"launch.processes={world}",)
    return (f"launch.nodes={world // _PER_NODE}", f"launch.processes={_PER_NODE}")


def _strategies(step: Step) -> tuple[str, ...]:
    """The step's own, and those that share out more."""
    order = ("ddp", "zero2", "zero3")
    if step.strategy not in order:
        return (step.strategy,)
    return order[order.index(step.strategy) :]
