"""Puts together what `mmrl doctor model=NAME` finds out about a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from mmrl.checkup.checkpoint import finding, look_at_files, look_at_weights, model_type
from mmrl.checkup.fits import Fit, fits_of
from mmrl.checkup.hub import RefusedError, small_files
from mmrl.checkup.processor import load_parts, look_at_processor, missing_packages
from mmrl.checkup.subject import Subject
from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.doctor import Finding
from mmrl.errors import ConfigError
from mmrl.evals.models import family_named
from mmrl.families import FAMILIES
from mmrl.plan.adapters import part_of
from mmrl.plan.checkpoints import dimensions_of
from mmrl.plan.dimensions import Dimensions
from mmrl.plan.media import Shown, show_image, show_sound, show_video
from mmrl.plan.parameters import named_parameters


def look_over(subject: Subject) -> tuple[list[Finding], Subject]:
    """Everything about a model, and the subject with the folder that its files were found in."""
    config = subject.stage.model
    folder, found = _folder(config)
    if folder is not None:
        config = config.model_copy(update={"path": str(folder)})
        subject = replace(subject, stage=subject.stage.model_copy(update={"model": config}))
        found += _family(config, folder)
    if all(one.ok or not one.required for one in found):
        found += _sizes(subject)
    known = all(one.ok or not one.required for one in found)
    if known and folder is not None:
        found += look_at_files(folder)
        if folder == Path(str(config.path)) and _is_local(folder):
            found += look_at_weights(folder, dimensions_of(config))
    if known and (folder is not None or config.tiny):
        found += _processor(config, folder)
    return found, subject


def fits(subject: Subject, found: list[Finding]) -> list[Fit]:
    """What fits where; nothing for a model whose sizes are not known."""
    sized = any(one.name == "parameters" and one.ok for one in found)
    return fits_of(subject) if sized else []


def _is_local(folder: Path) -> bool:
    """Whether it is a folder of somebody's, and not what the hub's cache has of small files."""
    return "snapshots" not in folder.parts


def _folder(config: ModelConfig) -> tuple[Path | None, list[Finding]]:
    """Where the model's small files are."""
    if config.tiny is not None:
        return None, [finding("model", "tiny", f"random weights of a small {config.tiny}")]
    path = Path(str(config.path))
    if path.is_dir():
        return path, [finding("model", "folder", str(path))]
    try:
        found = small_files(str(config.path), config.revision)
    except RefusedError as error:
        fix = "see model.path and model.revision, or log in (hf auth login)"
        return None, [finding("model", "hub", str(error), fix, ok=False)]
    except ValueError as error:
        detail = f"{error}; what follows is known without it"
        one = Finding(about="model", name="hub", ok=False, detail=detail, required=False)
        return None, [one]
    return found, [finding("model", "hub", f"{config.path}, files in {found}")]


def _family(config: ModelConfig, folder: Path) -> list[Finding]:
    """Is it what `model.family` says, and can it be trained at all?"""
    try:
        called, values = model_type(folder)
    except ValueError as error:
        fix = "give the folder of a saved checkpoint"
        return [finding("model", "config.json", str(error), fix, ok=False)]
    if family_named(called) != config.family:
        detail = f"config.json says {called!r}, model.family says {config.family}"
        fix = f"model.family={family_named(called)}" if family_named(called) in FAMILIES else ""
        return [finding("model", "family", detail, fix or "give another checkpoint", ok=False)]
    if quantised := values.get("quantization_config"):
        method = quantised.get("quant_method") if isinstance(quantised, Mapping) else quantised
        detail = f"its weights are quantised ({method}), and cannot learn"
        fix = "take the checkpoint that is not; model.lora.quantize=nf4 holds it in four bits"
        return [finding("model", "quantised", detail, fix, ok=False)]
    return []


def _sizes(subject: Subject) -> list[Finding]:
    stage, family = subject.stage, FAMILIES[subject.stage.model.family]
    try:
        model = dimensions_of(stage.model)
    except ConfigError as error:
        here = Path(str(stage.model.path)).is_dir()
        fix = "take config.json from the checkpoint that the weights came from" if here else ""
        return [finding("model", "parameters", str(error), fix, ok=False)]
    media = [kind for kind in ("image", "video", "audio") if kind in family.media]
    space = stage.model.coordinates or family.coordinates
    served = not family.processing
    engine = "yes" if served else "no: its pictures are tiles; rollout.engine=hf"
    found = [
        finding("model", "family", f"{stage.model.family}, reads {', '.join(media)} and text"),
        finding("model", "parameters", _parts(model)),
    ]
    if model.vision is not None:
        found.append(finding("model", "coordinates", f"{space}, of boxes and points"))
    return [
        *found,
        *_shown(model, stage.media),
        Finding(about="engine", name="vllm", ok=served, detail=engine, required=False),
        *_packages(subject),
    ]


def _packages(subject: Subject) -> Iterator[Finding]:
    """What this machine lacks for the keys that were given; others may have it."""
    stage, launch = subject.stage, subject.launch
    strategy = "" if launch is None else launch.strategy
    asked = {
        "peft": "model.lora" if stage.model.lora else "",
        "deepspeed": f"launch.strategy {strategy}" if strategy in ("zero2", "zero3") else "",
        "vllm": "rollout.engine vllm" if stage.rollout.engine == "vllm" else "",
        "bitsandbytes": f"optim.kind {stage.optim.kind}" if "8bit" in stage.optim.kind else "",
    }
    for package, key in asked.items():
        if key and find_spec(package) is None:
            yield Finding(
                about="machine",
                name=package,
                ok=False,
                detail=f"not on this machine, for {key}",
                required=False,
                fix=f"pip install 'mmrl-toolkit[{package}]'",
            )


def _parts(model: Dimensions) -> str:
    sums: dict[str, int] = {}
    for name, count in named_parameters(model).items():
        part = part_of(name)
        sums[part] = sums.get(part, 0) + count
    shown = ", ".join(f"{part} {_short(count)}" for part, count in sums.items())
    return f"{_short(sum(sums.values()))}: {shown}"


def _short(count: int) -> str:
    for unit, size in (("billion", 1e9), ("million", 1e6), ("thousand", 1e3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return str(count)


def _shown(model: Dimensions, media: MediaConfig) -> Iterator[Finding]:
    """How many tokens a medium becomes, one example at each limit."""
    examples: list[tuple[str, str, Shown]] = []
    if model.vision is not None:
        for width, height in ((28, 28), (640, 480), (4000, 3000)):
            shown = show_image(model, media, width=width, height=height)
            examples.append(("image", f"a picture of {width} x {height}", shown))
        shown = show_video(model, media, width=1280, height=720, seconds=10)
        examples.append(("video", "10 s of 1280 x 720", shown))
    if model.audio is not None:
        examples.append(("audio", "10 s of sound", show_sound(model, seconds=10)))
    for kind in dict.fromkeys(kind for kind, _, _ in examples):
        told = [f"{what} {shown.tokens:,}" for own, what, shown in examples if own == kind]
        yield finding("media", kind, f"tokens: {', '.join(told)}{_limits(kind, model, media)}")


def _limits(kind: str, model: Dimensions, media: MediaConfig) -> str:
    if kind == "audio":
        return f" (up to {media.limit_audio_seconds:g} s)"
    low, high = getattr(media, f"{kind}_min_pixels"), getattr(media, f"{kind}_max_pixels")
    tiled = model.vision is not None and model.vision.tile
    pixels = f"{low:,} to {high:,} pixels"
    if kind == "image":
        return f" ({pixels})"
    frames = f"{media.video_min_frames} to {media.video_max_frames} frames at {media.video_fps:g}/s"
    return f" ({frames}{'' if tiled else f', {pixels} each'})"


def _processor(config: ModelConfig, folder: Path | None) -> Iterator[Finding]:
    missing = list(missing_packages(config))
    if missing:
        yield from missing
        return
    try:
        parts = load_parts(config, folder)
    except ValueError as error:
        fix = "copy tokenizer and processor files from the checkpoint of the weights"
        yield finding("processor", "loading", str(error), fix, ok=False)
        return
    yield from look_at_processor(config, *parts)
