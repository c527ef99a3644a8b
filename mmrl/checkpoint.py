"""Saves and finds the points that a run can be resumed from.

A checkpoint is a folder: a model that transformers loads as it is, `optimizer.safetensors`,
`state.json` and `manifest.json` with the size
and hash of every file. It is written under a temporary name, synced to disk and then renamed, so a
folder with its final name is whole;
the manifest also catches what happens to it later.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrl.config.schema import Sharing
from mmrl.distributed.ranks import ALONE
from mmrl.durable import sync
from mmrl.model import Policy, save_policy
from mmrl.objectives.reference import reference_weights, save_reference

_TEMPORARY = ".writing-"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunState:
    """Where a run stands; with the weights and the optimizer it is all that the next step depends
    on.
    """

    stage: str
    step: int
    """Steps of the stage that are done."""
    finished: bool
    """The stage is done and its final evaluation written."""
    sampler: dict[str, Any]
    stop: dict[str, Any]
    """What the rules look back on that may end the stage early."""
    metrics_bytes: int
    """Length of metrics.jsonl; what was written after it belongs to steps that will be repeated."""
    rollouts_bytes: int
    tokens: int
    """Completion tokens seen by the loss since the run began."""
    rollouts: int
    """Rollouts of the stage so far, and how many of them could not be judged."""
    unjudged: int
    sharing: Sharing
    """As it was chosen when the stage began."""
    imitation: dict[str, Any] | None = None
    """The weight of imitation, where there is one."""
    guide: dict[str, Any] | None = None
    """What the help of groups remembers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A whole checkpoint on disk."""

    folder: Path
    state: RunState


def save_checkpoint(
    parent: Path,
    state: RunState,
    policy: Policy | None,
    optimizer: torch.optim.Optimizer | None,
    *,
    keep: int,
    reference: Policy | None = None,
) -> Path:
    """Write a checkpoint, then delete the stage's oldest unfinished ones beyond `keep`.

    A stage that trains nothing has neither policy nor optimizer to save.
    `reference` is given where it moves, and is not what the stage began with.
    Every process that trains takes part; the first one writes.
    """
    name = f"{state.stage}-{state.step:06d}{'-final' if state.finished else ''}"
    temporary = parent / (_TEMPORARY + name)
    ranks = policy.strategy.ranks if policy else ALONE
    ranks.first_only(lambda: _begin(parent, temporary), "checkpoint: writing")
    if policy is not None and optimizer is not None:
        _save_trained(temporary, policy, optimizer, reference)

    def finish() -> None:
        _finish(temporary, parent / name, state)
        _prune(parent, state, keep)

    ranks.first_only(finish, "checkpoint: writing")
    return parent / name


def _begin(parent: Path, temporary: Path) -> None:
    parent.mkdir(parents=True, exist_ok=True)
    for leftover in parent.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(leftover)
    temporary.mkdir()


def _save_trained(
    temporary: Path, policy: Policy, optimizer: torch.optim.Optimizer, reference: Policy | None
) -> None:
    """Gather and write one thing after the other, so that the first process never holds moments and
    weights at a time.
    """
    ranks = policy.strategy.ranks

    def only(write: Callable[[], None]) -> None:
        ranks.first_only(write, "checkpoint: writing")

    moments = policy.strategy.moments(policy.model, optimizer)
    only(lambda: _save_moments(temporary / "optimizer.safetensors", moments))
    moments.clear()
    weights = policy.strategy.weights(policy.model, adapter=bool(policy.base))
    only(lambda: save_policy(policy, temporary, weights=weights))
    if reference is not None:
        del weights
        moved = reference_weights(reference, policy)
        only(lambda: save_reference(temporary, moved))


def _finish(temporary: Path, final: Path, state: RunState) -> None:
    (temporary / "state.json").write_text(json.dumps(asdict(state), indent=1))
    files = sorted(path for path in temporary.iterdir() if path.is_file())
    (temporary / "manifest.json").write_text(
        json.dumps({path.name: _fingerprint(path) for path in files}, indent=1)
    )
    for path in temporary.iterdir():
        sync(path)
    sync(temporary)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    sync(final.parent)


def find_checkpoints(parent: Path) -> tuple[list[Checkpoint], list[str]]:
    """All whole checkpoints, the one that was written last coming last, and a warning for each that
    is not whole.
    """
    found: list[tuple[int, Checkpoint]] = []
    warnings: list[str] = []
    for folder in sorted(parent.iterdir()) if parent.is_dir() else []:
        problem = (
            "it was being written when the run stopped"
            if folder.name.startswith(_TEMPORARY)
            else _problem(folder)
        )
        if problem:
            warnings.append(f"ignoring checkpoint {folder}: {problem}")
            continue
        state = RunState(**json.loads((folder / "state.json").read_text()))
        found.append((state.metrics_bytes, Checkpoint(folder=folder, state=state)))
    # A run only ever appends to its metrics, so their length orders its checkpoints.
    return [checkpoint for _, checkpoint in sorted(found, key=lambda item: item[0])], warnings


def load_optimizer(folder: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> None:
    """Put the saved moments back into an optimizer over the policy's trainable parameters."""
    from safetensors.torch import load_file

    moments: dict[str, dict[str, Tensor]] = {}
    for joined, value in load_file(folder / "optimizer.safetensors").items():
        name, _, key = joined.rpartition(":")
        moments.setdefault(name, {})[key] = value
    policy.strategy.load_moments(policy.model, optimizer, moments)


def _save_moments(path: Path, moments: Mapping[str, Mapping[str, Tensor]]) -> None:
    from safetensors.torch import save_file

    tensors = {
        f"{name}:{key}": value.detach().cpu().contiguous()
        for name, entries in moments.items()
        for key, value in entries.items()
    }
    save_file(tensors, path)


def _problem(folder: Path) -> str | None:
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return "it has no manifest.json"
    try:
        expected = json.loads(manifest.read_text())
    except json.JSONDecodeError:
        return "its manifest.json cannot be read"
    for name, fingerprint in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if _fingerprint(path) != fingerprint:
            return f"{name} is not what was written"
    return None


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {
            "bytes": path.stat().st_size,
            "blake2b": hashlib.file_digest(file, "blake2b").hexdigest(),
        }


def _prune(parent: Path, state: RunState, keep: int) -> None:
    unfinished = re.compile(rf"{re.escape(state.stage)}-[0-9]+")
    own = [folder for folder in parent.iterdir() if unfinished.fullmatch(folder.name)]
    for folder in sorted(own, key=_step_of)[: -keep or None]:
        # renamed first: a deletion that is cut short must not leave something that looks like a
        # checkpoint
        doomed = folder.with_name(_TEMPORARY + folder.name)
        folder.rename(doomed)
        shutil.rmtree(doomed)


def _step_of(folder: Path) -> int:
    return int(folder.name.rsplit("-", 1)[1])
