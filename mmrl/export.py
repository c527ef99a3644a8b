"""Writes a checkpoint out for other programs: whole weights or an adapter as transformers, peft,
vLLM and evaluation kits load them, and a model card of how they came about.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.checkpoint import Checkpoint, find_checkpoints
from mmrl.config.runs import RESOLVED
from mmrl.errors import RunError
from mmrl.families import FAMILIES, Family
from mmrl.lora import is_adapter
from mmrl.released import release

_OWN = ("state.json", "manifest.json", "optimizer.safetensors", "reference.safetensors")
"""Of a checkpoint, what only resuming needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written."""

    folder: Path
    checkpoint: str
    adapter: bool


def export(
    run: Path, out: Path, *, checkpoint: str | None = None, merge: bool | None = None
) -> Exported:
    """Write a checkpoint of a run with a model card.

    Args:
        run: The run folder.
        out: A folder that is not there yet, or is empty.
        checkpoint: The name of one in `run/checkpoints`; the last with weights unless given.
        merge: Merge an adapter into the weights it was trained on; None leaves it as it is.

    Raises:
        RunError: there is no such checkpoint, `out` is in use, or there is no adapter to merge.
    """
    chosen = _find(run, checkpoint)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"out: {out} is not empty; give a new folder")
    adapter = is_adapter(chosen.folder)
    if merge and not adapter:
        raise RunError(f"merge: {chosen.folder} holds whole weights, there is no adapter to merge")
    out.mkdir(parents=True, exist_ok=True)
    if adapter and merge:
        _write_merged(run, chosen, out)
    else:
        for file in sorted(chosen.folder.iterdir()):
            if file.name not in _OWN:
                shutil.copy2(file, out / file.name)
    note = None
    if not adapter or merge:
        note = release(out, _family(run, chosen), source=_source(run))
    (out / "README.md").write_text(
        model_card(run, chosen, adapter=adapter and not merge, note=note)
    )
    return Exported(folder=out, checkpoint=chosen.folder.name, adapter=adapter and not merge)


def model_card(run: Path, checkpoint: Checkpoint, *, adapter: bool, note: str | None = None) -> str:
    """What the weights are, in Markdown: the curriculum, its data, its results and its versions;
    `note` is what else has to be known of them.
    """
    config = _resolved(run)
    state = checkpoint.state
    stages = config["stages"]
    base = stages[state.stage]["model"].get("path") or "random weights"
    tags = ["mmrl", "reinforcement-learning", "multimodal"]
    front = ["---", f"base_model: {base}"] if base != "random weights" else ["---"]
    front += [f"library_name: {'peft' if adapter else 'transformers'}", "tags:"]
    front += [*(f"- {tag}" for tag in tags), "---"]
    return "\n".join(
        [
            *front,
            "",
            f"# {config['name']}",
            "",
            f"Trained with mmrl from {base}: stage {state.stage}, step {state.step}, "
            f"{state.tokens} completion tokens, seed {config['seed']}.",
            *(["", note] if note else []),
            "",
            "## Curriculum",
            "",
            *_curriculum(stages),
            "",
            "## Data",
            "",
            *_data(run, stages),
            "",
            "## Results",
            "",
            *_results(run, state.metrics_bytes),
            "",
            "## Versions",
            "",
            *_versions(run),
            "",
            "## Configuration",
            "",
            "```yaml",
            (run / RESOLVED).read_text().rstrip(),
            "```",
            "",
        ]
    )


def _find(run: Path, name: str | None) -> Checkpoint:
    found, _ = find_checkpoints(run / "checkpoints")
    held = [one for one in found if (one.folder / "config.json").is_file()]
    if not held:
        raise RunError(f"{run}: no checkpoint with weights; is it a run folder of mmrl train?")
    if name is None:
        return held[-1]
    for one in held:
        if one.folder.name == name:
            return one
    names = ", ".join(one.folder.name for one in held)
    raise RunError(f"checkpoint: {run} has no {name!r} with weights; there are: {names}")


def _write_merged(run: Path, checkpoint: Checkpoint, out: Path) -> None:
    from mmrl.config.schema import ModelConfig
    from mmrl.model import load_policy, save_policy

    section = _resolved(run)["stages"][checkpoint.state.stage]["model"]
    section = {**section, "lora": None, "device": "cpu", "gradient_checkpointing": False}
    config = ModelConfig.model_validate({**section, "freeze": "none"})
    save_policy(load_policy(config, seed=0, weights=checkpoint.folder), out)


def _family(run: Path, checkpoint: Checkpoint) -> Family:
    return FAMILIES[_resolved(run)["stages"][checkpoint.state.stage]["model"]["family"]]


def _source(run: Path) -> Path | None:
    """The folder with the weights that the run's first stage began with; of a name on a hub, what
    was downloaded for training.
    """
    first = next(iter(_resolved(run)["stages"].values()))["model"]
    path = first.get("path")
    if path is None or Path(path).is_dir():
        return None if path is None else Path(path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(path, revision=first.get("revision"), local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _resolved(run: Path) -> dict[str, Any]:
    import yaml

    try:
        return yaml.safe_load((run / RESOLVED).read_text())
    except OSError as error:
        raise RunError(f"{run} holds no run (no {RESOLVED})") from error


def _curriculum(stages: Mapping[str, Any]) -> Iterator[str]:
    yield "| stage | kind | steps | learning rate | objective | adapter |"
    yield "|---|---|---|---|---|---|"
    for name, stage in stages.items():
        optim, algo = stage.get("optim") or {}, stage.get("algo") or {}
        objective = f"{algo['loss']}, {algo['advantage']}" if algo else "-"
        lora = stage["model"].get("lora")
        rank = f"rank {lora['rank']}" if lora else "-"
        steps, rate = optim.get("steps", "-"), optim.get("lr", "-")
        yield f"| {name} | {stage['kind']} | {steps} | {rate} | {objective} | {rank} |"


def _data(run: Path, stages: Mapping[str, Any]) -> Iterator[str]:
    for name, stage in stages.items():
        for split in ("train", "heldout"):
            for label, source in (stage["data"].get(split) or {}).items():
                shown = json.dumps({k: v for k, v in source.items() if v is not None}, default=str)
                yield f"- {name}, {split}, {label}: `{shown}`"
    for manifest in sorted(run.glob("data/**/manifest*.json")):
        rows = json.loads(manifest.read_text())
        yield f"- `{manifest.relative_to(run)}`: `{json.dumps(rows, default=str)[:2000]}`"


def _results(run: Path, length: int) -> Iterator[str]:
    """The last held-out and benchmark numbers of each stage, up to the checkpoint; a final one is
    followed by nothing.
    """
    last: dict[tuple[str, str], float] = {}
    path = run / "metrics.jsonl"
    text = path.read_bytes()[:length] if path.is_file() else b""
    for line in text.splitlines():
        metrics = json.loads(line)
        for key, value in metrics.items():
            if key.startswith(("eval/", "benchmark/", "reward/mean")):
                last[metrics["stage"], key] = value
    if not last:
        yield "No evaluation was made."
        return
    yield "| stage | metric | last value |"
    yield "|---|---|---|"
    for (stage, key), value in last.items():
        yield f"| {stage} | {key} | {value:.4g} |"


def _versions(run: Path) -> Iterator[str]:
    path = run / "environment.json"
    if not path.is_file():
        yield "Not recorded."
        return
    found = json.loads(path.read_text())
    yield f"- python {found['python']}, {found['platform']}"
    for gpu in dict.fromkeys(found.get("gpus") or ()):
        yield f"- {gpu}"
    for name, version in found["packages"].items():
        if version:
            yield f"- {name} {version}"
