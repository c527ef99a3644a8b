"""Which GPUs a step of a model fits on, for all weights, adapters, and adapters on four bits, by
the cost model (docs/cost_model.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from mmrl.checkup.subject import Subject
from mmrl.config.launch import LaunchConfig
from mmrl.config.lora import LoraConfig
from mmrl.config.schema import GrpoStage
from mmrl.plan.checkpoints import dimensions_of
from mmrl.plan.hardware import GIB, GPUS
from mmrl.plan.media import default_medium, show_image
from mmrl.plan.plan import make_plan, step_of
from mmrl.plan.step import Prompts

GPU_GIB: Mapping[int, float] = MappingProxyType({24: 23.5, 40: 39.4, 48: 44.4, 80: 79, 141: 139})
"""What a process can have of a GPU that is sold with so many GB."""
SPARE = 0.15
"""Share of a GPU that a prediction should leave: measured steps took up to so much more."""
TEXT_TOKENS = 128
_LAUNCHES = (
    {"processes": 1, "strategy": "single"},
    *({"processes": 8, "strategy": name} for name in ("ddp", "zero2", "zero3", "fsdp2")),
)
_WHAT = ("all weights", "LoRA", "QLoRA")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What one way of training takes of a GPU."""

    what: str
    """All weights, LoRA or QLoRA."""
    processes: int
    strategy: str
    needs: Mapping[int, float]
    """GiB at the highest, by the GB of the GPU: vLLM's share grows with it."""

    def left(self, gpu: int) -> float:
        """GiB that are left; negative where it does not fit."""
        return GPU_GIB[gpu] - self.needs[gpu]

    def verdict(self, gpu: int) -> str:
        """`fits`, `tight` (what the prediction may be off by is not left), or what is lacking."""
        left = self.left(gpu)
        if left < 0:
            return f"lacks {-left:.0f}"
        return "fits" if left >= SPARE * GPU_GIB[gpu] else "tight"


def prompts_of(stage: GrpoStage) -> Prompts:
    """A question with a picture of 640 x 480 pixels, or with ten seconds of sound."""
    model = dimensions_of(stage.model)
    media = (
        show_image(model, stage.media, width=640, height=480)
        if model.vision
        else default_medium(model, stage.media)
    )
    place: dict[str, Any] = {"seen" if model.vision else "heard": (media,)}
    return Prompts(text_tokens=TEXT_TOKENS, completion_tokens=stage.rollout.max_new_tokens, **place)


def fits_of(subject: Subject) -> list[Fit]:
    """Every way of training that there is, or those that go with the launch that was asked for.

    Raises:
        ConfigError: the model's sizes are not known.
    """
    launches = (
        [LaunchConfig.model_validate(keys) for keys in _LAUNCHES]
        if subject.launch is None
        else [subject.launch]
    )
    return [fit for launch in launches for fit in _fits(subject.stage, launch)]


def _fits(stage: GrpoStage, launch: LaunchConfig) -> Iterator[Fit]:
    shared = launch.strategy not in ("single", "ddp")
    if shared and stage.optim.kind != "adamw":
        return
    for what in _WHAT:
        # four-bit weights cannot be shared out
        if what == "QLoRA" and shared:
            continue
        chosen = stage.model_copy(update={"model": _model(stage, what)})
        step = step_of(chosen, launch, prompts_of(stage))
        needs = {}
        for gpu, gib in GPU_GIB.items():
            device = replace(GPUS["h100"], name=f"{gpu} GB", memory=gib * GIB)
            needs[gpu] = make_plan(step, device).memory.peak / GIB
        yield Fit(what=what, processes=launch.world, strategy=launch.strategy, needs=needs)


def _model(stage: GrpoStage, what: str) -> Any:
    model = stage.model
    if what == "all weights":
        return model.model_copy(update={"lora": None})
    lora = (model.lora or LoraConfig()).model_copy(
        update={"quantize": "nf4" if what == "QLoRA" else "none"}
    )
    return model.model_copy(update={"lora": lora, "freeze": "none"})


def as_table(stage: GrpoStage, fits: list[Fit]) -> Iterator[str]:
    """The table as lines, after what is assumed of the step."""
    lora, prompts = stage.model.lora or LoraConfig(), prompts_of(stage)
    medium = "picture of 640 x 480" if prompts.seen else "sound of 10 s"
    yield (
        f"what fits: GiB that a process needs at its highest. Prompts of {prompts.tokens} tokens "
        f"with a {medium}, {stage.rollout.group_size} completions of "
        f"{stage.rollout.max_new_tokens}, optim.micro_tokens={stage.optim.micro_tokens}, "
        f"rollout.max_batch={stage.rollout.max_batch}, {stage.model.dtype}, {stage.optim.kind}, "
        f"freeze {stage.model.freeze}, adapters of rank {lora.rank} on {lora.targets}"
    )
    gpus = "".join(f"{f'{gpu} GB':>11}" for gpu in GPU_GIB)
    yield f"  {'':11}{'':11}{'needs':>8}{gpus}"
    for fit in fits:
        where = f"{fit.processes} x" + (f" {fit.strategy}" if fit.processes > 1 else "")
        verdicts = "".join(f"{fit.verdict(gpu):>11}" for gpu in GPU_GIB)
        yield f"  {where:11}{fit.what:11}{fit.needs[80]:>8.1f}{verdicts}"
    yield (
        f"  tight: less than {SPARE:.0%} are left. mmrl plan says more, also of seconds, and what "
        "to change"
    )


def as_objects(fits: list[Fit]) -> list[dict[str, Any]]:
    """The table as plain values."""
    return [
        {
            "what": fit.what,
            "processes": fit.processes,
            "strategy": fit.strategy,
            "gpus": {
                str(gpu): {
                    "needs_gib": round(fit.needs[gpu], 2),
                    "left_gib": round(fit.left(gpu), 2),
                    "fits": fit.left(gpu) >= 0,
                }
                for gpu in GPU_GIB
            },
        }
        for fit in fits
    ]
