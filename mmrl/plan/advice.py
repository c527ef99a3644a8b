"""Says which key to change so that a step fits: the smallest change first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mmrl.plan.plan import Plan, make_plan
from mmrl.plan.step import Step

_MOST_PROCESSES = 4096


def advise(plan: Plan) -> str:
    """The change, as arguments of the command; empty where the step fits as it is."""
    if plan.fits:
        return ""
    for names, step in _changes(plan):
        if make_plan(step, plan.device).fits:
            return " ".join(names)
    return ""


def _changes(plan: Plan) -> Iterator[tuple[tuple[str, ...], Step]]:
    """One change, then all of them together, then with more of the model shared out."""
    step = plan.step
    base: tuple[str, ...] = ()
    for strategy in _strategies(plan):
        names, changed = base, step
        if strategy != step.strategy:
            names = (f"launch.strategy={strategy}",)
            changed = replace(step, strategy=strategy)
            yield names, changed
        for own, single in _savings(changed):
            yield (*names, *own), single
    names, changed = _all_savings(replace(step, strategy=_widest(plan)))
    if changed.strategy != step.strategy:
        names = (f"launch.strategy={changed.strategy}", *names)
    yield names, changed
    if plan.device.link:
        yield from _more_processes(step, names, changed)


def _savings(step: Step) -> Iterator[tuple[tuple[str, ...], Step]]:
    if not step.checkpointing and step.learns:
        yield ("model.gradient_checkpointing=true",), replace(step, checkpointing=True)
    tokens = step.micro_tokens // 2
    while step.learns and tokens >= step.row_tokens:
        yield (f"optim.micro_tokens={tokens}",), replace(step, micro_tokens=tokens)
        tokens //= 2
    rows = step.max_batch // 2
    while step.engine == "hf" and rows >= step.group_size:
        yield (f"rollout.max_batch={rows}",), replace(step, max_batch=rows)
        rows //= 2


def _all_savings(step: Step) -> tuple[tuple[str, ...], Step]:
    names: tuple[str, ...] = ()
    if not step.checkpointing and step.learns:
        names += ("model.gradient_checkpointing=true",)
    if step.learns and step.micro_tokens > step.row_tokens:
        names += (f"optim.micro_tokens={step.row_tokens}",)
    if step.engine == "hf" and step.max_batch > step.group_size:
        names += (f"rollout.max_batch={step.group_size}",)
    changed = replace(
        step,
        checkpointing=step.checkpointing or step.learns,
        micro_tokens=min(step.micro_tokens, step.row_tokens),
        max_batch=min(step.max_batch, step.group_size) if step.engine == "hf" else step.max_batch,
    )
    return names, changed


def _more_processes(
    step: Step, names: tuple[str, ...], changed: Step
) -> Iterator[tuple[tuple[str, ...], Step]]:
    """Twice as many, and so on; those of one strategy that shares weights out."""
    if changed.strategy in ("single", "ddp"):
        names = ("launch.strategy=zero3", *names)
        changed = replace(changed, strategy="zero3")
    rows = step.prompt_count * step.world
    world = 2 * step.world
    while world <= _MOST_PROCESSES:
        more = replace(changed, world=world, prompt_count=max(1, rows // world))
        yield (f"launch.processes={world}", *names), more
        if changed.engine == "hf":
            yield (
                (f"launch.processes={world}", *names, "--engine=vllm"),
                replace(more, engine="vllm"),
            )
        world *= 2


def _strategies(plan: Plan) -> tuple[str, ...]:
    step = plan.step
    if step.world == 1:
        return (step.strategy,)
    order = ("ddp", "zero2", "zero3")
    return order[order.index(step.strategy) :] if step.strategy in order else (step.strategy,)


def _widest(plan: Plan) -> str:
    return _strategies(plan)[-1]
