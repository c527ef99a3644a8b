"""Puts the prediction for a stage together: memory, tokens, operations and seconds of a step, and
what to change where it does not fit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mmrl.config.schema import (
    AnyStage,
    LaunchConfig,
    ModelConfig,
    SelectStage,
    SftStage,
    Sharing,
)
from mmrl.errors import ConfigError
from mmrl.families import FAMILIES
from mmrl.plan.adapters import adapter_counts
from mmrl.plan.checkpoints import dimensions_of
from mmrl.plan.dimensions import Dimensions
from mmrl.plan.hardware import Device
from mmrl.plan.memory import Memory, predict_memory
from mmrl.plan.parameters import count_parameters
from mmrl.plan.seconds import Seconds, seconds_of
from mmrl.plan.step import Prompts, Step, passes_of
from mmrl.plan.work import Work, phases


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is predicted for one process."""

    step: Step
    device: Device
    memory: Memory
    work: Mapping[str, Work]
    seconds: Mapping[str, Seconds]

    @property
    def step_s(self) -> float:
        """Seconds of the step, without decoding media and judging."""
        return sum(found.total for found in self.seconds.values())

    @property
    def fits(self) -> bool:
        """Whether the device has the memory."""
        return self.memory.peak <= self.device.memory

    @property
    def binds(self) -> str:
        """The limit that holds the step back most: memory where it does not fit."""
        if not self.fits:
            return "memory capacity"
        sums: dict[str, float] = {}
        for found in self.seconds.values():
            sums[found.binds] = sums.get(found.binds, 0.0) + found.total
        return max(sums, key=lambda name: sums[name])

    @property
    def utilisation(self) -> float:
        """Share of the device's peak rate that the step reaches, with what is computed anew."""
        flops = sum(work.flops for work in self.work.values())
        peak = self.device.flops(self.step.dtype) / self.device.flops_share
        return flops / self.step_s / peak


def make_plan(step: Step, device: Device) -> Plan:
    """Predict a step on the device.

    Raises:
        ConfigError: several processes, and no link between such devices.
    """
    if step.world > 1 and not device.link:
        raise ConfigError(
            f"launch.processes: {step.world}, and {device.name} has no link to others; "
            "name a GPU: --gpu h100"
        )
    step = replace(step, vllm_over=_vllm_over(step, device))
    work = phases(step)
    return Plan(
        step=step,
        device=device,
        memory=predict_memory(step, device),
        work=work,
        seconds={name: seconds_of(part, device, step) for name, part in work.items()},
    )


def step_of(
    stage: AnyStage,
    launch: LaunchConfig,
    prompts: Prompts,
    *,
    engine: str | None = None,
    vllm_share: float = 0.3,
) -> Step:
    """What one process does in a step of the stage; processes share its prompts.

    Args:
        stage: The stage.
        launch: How many processes.
        prompts: What is assumed of every prompt.
        engine: Samples in place of the stage's own.
        vllm_share: Of a GPU's memory, where vLLM samples.

    Raises:
        ConfigError: the model's sizes are not known.
    """
    model = dimensions_of(stage.model)
    if isinstance(stage, SftStage):
        step = _step(stage, model, launch, prompts, stage.optim.batch_size)
        return replace(step, micro_tokens=stage.optim.micro_tokens)
    rollout = stage.rollout
    step = replace(
        _step(stage, model, launch, prompts, rollout.prompts_per_step),
        group_size=rollout.group_size,
        max_batch=rollout.max_batch,
        engine=engine or rollout.engine,
        vllm_share=vllm_share,
    )
    if isinstance(stage, SelectStage):
        return replace(step, learns=False)
    algo = stage.algo
    return replace(
        step,
        micro_tokens=stage.optim.micro_tokens,
        old_passes=passes_of(algo),
        reference=algo.kl_weight > 0,
        epochs=algo.epochs,
        minibatches=algo.minibatches,
    )


def sharing_of(model: ModelConfig) -> Sharing:
    """What the completions of a prompt have in common; `auto` as it comes out where all agree."""
    if model.sharing != "auto":
        return model.sharing
    causal = FAMILIES[model.family].attention == "causal" and model.attention == "sdpa"
    return "packed" if causal else "encoder"


def _vllm_over(step: Step, device: Device) -> int:
    """The fewest GPUs whose shares hold the bfloat16 weights and as much again for the cache."""
    wanted = 4.0 * step.parameters.all.total / (step.vllm_share * device.memory)
    over = 1
    while step.engine == "vllm" and over < wanted and 2 * over <= step.world:
        over *= 2
    return over


def _step(
    stage: AnyStage, model: Dimensions, launch: LaunchConfig, prompts: Prompts, count: int
) -> Step:
    nodes = getattr(launch, "nodes", 1)
    world = launch.processes * nodes
    lora = stage.model.lora
    parameters = count_parameters(model, stage.model.freeze)
    held = ""
    if lora is not None:
        parameters = replace(parameters, learning=adapter_counts(model, lora))
        held = stage.model.dtype if lora.quantize == "none" else lora.quantize
    return Step(
        model=model,
        parameters=parameters,
        prompts=prompts,
        prompt_count=math.ceil(count / world),
        group_size=1,
        sharing=sharing_of(stage.model),
        micro_tokens=1,
        max_batch=1,
        dtype=stage.model.dtype,
        checkpointing=stage.model.gradient_checkpointing,
        world=world,
        nodes=nodes,
        strategy=launch.strategy,
        engine="",
        adapter_on=held,
        optimizer="adamw" if isinstance(stage, SelectStage) else stage.optim.kind,
    )
