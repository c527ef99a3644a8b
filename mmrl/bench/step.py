"""Measures a training step against another way to make it: in one process, in turn, on the same
weights, prompts and completions; what is reported are medians and their ratios.
"""

from __future__ import annotations

import gc
import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor

from mmrl.bench.ours import Ours, Times
from mmrl.bench.shapes import FAMILY, SHAPES, save_shape
from mmrl.bench.task import Workload, make_completions, make_rows
from mmrl.config.schema import ModelConfig, Sharing
from mmrl.errors import ConfigError
from mmrl.evals.models import resolve_model
from mmrl.model import Policy, load_policy, save_policy
from mmrl.sharing.attention import use_packed_attention

Against = Literal["trl", "none", "encoder"]
PHASES = ("rollout", "scoring_backward", "step")


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two that are compared."""

    name: str
    step: Callable[[], tuple[Times, dict[str, Tensor]]]
    logprobs: Callable[[], Tensor]


def measure_step(
    model: str,
    workload: Workload,
    *,
    against: Against,
    project: Path | None = None,
    rounds: int = 3,
    dtype: Literal["float32", "bfloat16"] = "float32",
    threads: int | None = None,
    micro_tokens: int = 65_536,
    on_round: Callable[[int], None] = lambda number: None,
) -> dict[str, Any]:
    """The report of `mmrl bench step`; `ratio` is the other's median over ours.

    Raises:
        ConfigError: the model's name or the lengths cannot be measured.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    _hush()
    with tempfile.TemporaryDirectory() as folder:
        config = _model(model, Path(folder), project, {"dtype": dtype, "threads": threads})
        policy = load_policy(config, seed=0)
        use_packed_attention(policy.model)
        # TRL takes no media token out of the distribution, so neither do we for the comparison
        bare = replace(policy, banned_ids=())
        rows = make_rows(policy, workload)
        completions_PG = make_completions(policy, workload, seed=0)

        def with_sharing(name: str, sharing: Sharing) -> Side:
            side = Ours(
                policy=bare,
                rows=rows,
                completions_PG=completions_PG,
                workload=workload,
                sharing=sharing,
                micro_tokens=micro_tokens,
            )
            return Side(name=name, step=side.step, logprobs=side.logprobs)

        ours = with_sharing("mmrl", "packed")
        if against == "trl":
            from mmrl.bench.theirs import Theirs

            checkpoint = _on_disk(config, policy, Path(folder))
            theirs = Theirs(checkpoint, rows, completions_PG, workload, dtype=config.dtype)
            other = Side(name="trl", step=theirs.step, logprobs=theirs.logprobs)
        else:
            other = with_sharing(against, against)
        report = {"model": model, "workload": asdict(workload), "against": other.name}
        report |= {"dtype": config.dtype, "device": str(policy.device.type), "rounds": rounds}
        return report | _compare(ours, other, workload, rounds, on_round)


def _compare(
    ours: Side, other: Side, workload: Workload, rounds: int, on_round: Callable[[int], None]
) -> dict[str, Any]:
    """Warm both up, then let them take turns, and change who goes first."""
    for side in (ours, other):
        side.step()
    times: dict[str, list[Times]] = {ours.name: [], other.name: []}
    peaks: dict[str, list[int]] = {ours.name: [], other.name: []}
    found: dict[str, dict[str, Tensor]] = {}
    for number in range(rounds):
        for side in (ours, other) if number % 2 == 0 else (other, ours):
            before = _start_peak()
            took, found[side.name] = side.step()
            peaks[side.name].append(_peak() - before)
            times[side.name].append(took)
        on_round(number + 1)
    seconds = {
        name: {phase: median(getattr(t, phase) for t in runs) for phase in PHASES}
        for name, runs in times.items()
    }
    return {
        "threads": torch.get_num_threads(),
        "ratio": {
            phase: seconds[other.name][phase] / seconds[ours.name][phase] for phase in PHASES
        },
        "token_bound": workload.token_bound,
        "max_logprob_diff": float((ours.logprobs() - other.logprobs()).abs().max()),
        "max_grad_rel_diff": largest_difference(found[ours.name], found[other.name]),
        "peak_memory": {name: median(values) for name, values in peaks.items()},
        "seconds": seconds,
    }


def largest_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest |a - b| / |b| over parameters, in the Euclidean norm.

    Raises:
        ValueError: one side has a gradient for a parameter, and the other has none.
    """
    if found.keys() != expected.keys():
        raise ValueError(f"gradients of different parameters: {found.keys() ^ expected.keys()}")
    # a norm that is nearly zero beside all others is rounding, and is measured against them
    least = 1e-3 * max(float(gradient.norm()) for gradient in expected.values())
    return max(
        float((found[name] - gradient).norm()) / max(float(gradient.norm()), least)
        for name, gradient in expected.items()
    )


def _model(name: str, folder: Path, project: Path | None, keys: Mapping[str, Any]) -> ModelConfig:
    if name in SHAPES:
        save_shape(name, folder, seed=0)
        return ModelConfig(family=FAMILY, path=str(folder), **keys)
    if project is None:
        raise ConfigError(f"--model: {name!r} is none of {', '.join(SHAPES)}")
    given = {key: value for key, value in keys.items() if value is not None}
    return resolve_model(name, given, project)


def _on_disk(config: ModelConfig, policy: Policy, folder: Path) -> Path:
    """Where TRL can load the same weights from."""
    if config.path is None:
        save_policy(policy, folder)
        return folder
    return Path(config.path)


def _hush() -> None:
    """Keep what the other side's libraries have to say out of a report that may be read by a
    program.
    """
    from transformers.utils import logging as transformers_logging

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers_logging.disable_progress_bar()


def _start_peak() -> int:
    """Forget the highest use of memory so far; the bytes that are in use now."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    _malloc_trim()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _status("VmHWM")


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def _malloc_trim() -> None:
    """Give freed memory back, so that one side does not live in what the other left."""
    import ctypes

    ctypes.CDLL(None).malloc_trim(0)
