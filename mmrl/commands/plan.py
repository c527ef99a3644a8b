"""`mmrl plan`: what a step of a stage costs, predicted before anything is loaded."""

from __future__ import annotations

import json
import re

import click

from mmrl.config.loader import load_run
from mmrl.config.schema import AnyStage
from mmrl.errors import ConfigError
from mmrl.plan.checkpoints import dimensions_of
from mmrl.plan.hardware import GPUS, Device, measure_cpu
from mmrl.plan.media import Shown, default_medium, show_image, show_sound, show_video
from mmrl.plan.plan import Plan, make_plan, step_of
from mmrl.plan.report import as_object, as_text
from mmrl.plan.step import Prompts
from mmrl.project import find_project


@click.command()
@click.argument("overrides", nargs=-1, metavar="stage=NAME|curriculum=NAME [KEY=VALUE]...")
@click.option(
    "--gpu",
    type=click.Choice([*GPUS, "cpu"]),
    help="What computes; else h100, or the CPU (measured) where model.device says so.",
)
@click.option("--engine", type=click.Choice(["hf", "vllm"]), help="Else the stage's own.")
@click.option("--text-tokens", type=click.IntRange(1), default=128, show_default=True)
@click.option(
    "--completion-tokens", type=click.IntRange(1), help="Else the most, rollout.max_new_tokens."
)
@click.option("--image", "images", multiple=True, metavar="WxH", help="Pixels; may be repeated.")
@click.option("--video", "videos", multiple=True, metavar="WxHxS", help="Pixels and seconds.")
@click.option("--audio", "sounds", multiple=True, type=click.FloatRange(0, min_open=True))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, by stage.")
@click.pass_context
def plan(
    ctx: click.Context,
    overrides: tuple[str, ...],
    gpu: str | None,
    engine: str | None,
    as_json: bool,
    **lengths: object,
) -> None:
    """Predict the memory and the seconds of a training step, and say what binds.

    \b
    mmrl plan stage=geometry3k model=qwen2_5_vl_7b launch=node8
    mmrl plan stage=geometry3k model=qwen2_5_vl_7b launch=node8 model.sharing=none --gpu a100
    mmrl plan stage=geometry3k --image 640x480 --completion-tokens 300

    All prompts are taken to be alike. Without a medium, a prompt has the largest picture that
    media.image_max_pixels lets through, or ten seconds of sound. Nothing is loaded or run; see
    docs/cost_model.md for the formulas, and for how far off they were where it could be measured.
    """
    run = load_run(overrides, find_project(ctx.find_root().obj)).run
    plans = {}
    for name, stage in run.stages.items():
        prompts = _prompts(stage, lengths)
        step = step_of(stage, run.launch, prompts, engine=engine)
        plans[name] = make_plan(step, _device(gpu, stage))
    if as_json:
        click.echo(json.dumps({name: as_object(found) for name, found in plans.items()}))
        return
    click.echo("\n\n".join(_page(name, run.stages[name], found) for name, found in plans.items()))


def _page(name: str, stage: AnyStage, found: Plan) -> str:
    model = stage.model.path or f"tiny {stage.model.tiny}"
    return as_text(found, title=f"{name}, {model}")


def _device(gpu: str | None, stage: AnyStage) -> Device:
    name = gpu or ("cpu" if stage.model.device == "cpu" else "h100")
    return measure_cpu(stage.model.threads) if name == "cpu" else GPUS[name]


def _prompts(stage: AnyStage, lengths: dict[str, object]) -> Prompts:
    model, media = dimensions_of(stage.model), stage.media
    images = [_sizes(text, "--image", 2) for text in _texts(lengths["images"])]
    videos = [_sizes(text, "--video", 3) for text in _texts(lengths["videos"])]
    seen = [show_image(model, media, width=int(w), height=int(h)) for w, h in images]
    seen += [show_video(model, media, width=int(w), height=int(h), seconds=s) for w, h, s in videos]
    heard = [show_sound(model, seconds=float(text)) for text in _texts(lengths["sounds"])]
    if not seen and not heard:
        shown: Shown = default_medium(model, media)
        seen, heard = ([shown], []) if model.vision else ([], [shown])
    completion = lengths["completion_tokens"] or stage.rollout.max_new_tokens
    return Prompts(
        text_tokens=int(str(lengths["text_tokens"])),
        completion_tokens=int(str(completion)),
        seen=tuple(seen),
        heard=tuple(heard),
    )


def _texts(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, tuple) else []


def _sizes(text: str, option: str, count: int) -> list[float]:
    numbers = text.lower().split("x")
    whole = len(numbers) == count and all(re.fullmatch(r"\d+(\.\d+)?", n) for n in numbers)
    if not whole or any(float(n) <= 0 for n in numbers):
        form = "640x480" if count == 2 else "640x480x10 (seconds)"
        raise ConfigError(f"{option}: {text!r} is no size; write it like {form}")
    return [float(n) for n in numbers]
