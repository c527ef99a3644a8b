"""Measures a training step against another way to make it: in one process, in turn, on the same
weights, prompts and completions; what is reported are medians and their ratios.
"""

from __future__ import annotations

import gc
import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from mmrl.model import load_policy
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
    if model not in SHAPES:
        raise ConfigError(f"--model: {model!r} is not known; one of {', '.join(SHAPES)}")
    if threads is not None:
        torch.set_num_threads(threads)
    _hush()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder)
        save_shape(model, checkpoint, seed=0)
        ours, other = _sides(checkpoint, workload, against, dtype, threads, micro_tokens)
        for side in (ours, other):
            side.step()
        times: dict[str, list[Times]] = {ours.name: [], other.name: []}
        peaks: dict[str, list[int]] = {ours.name: [], other.name: []}
        found: dict[str, dict[str, Tensor]] = {}
        for number in range(rounds):
            for side in (ours, other) if number % 2 == 0 else (other, ours):
                before = _start_peak()
                seconds, found[side.name] = side.step()
                peaks[side.name].append(_peak() - before)
                times[side.name].append(seconds)
            on_round(number + 1)
        seconds = {
            name: {phase: median(getattr(t, phase) for t in runs) for phase in PHASES}
            for name, runs in times.items()
        }
        return {
            "model": model,
            "workload": {
                "prompts": workload.prompts,
                "prompt_tokens": workload.prompt_tokens,
                "completion_tokens": workload.completion_tokens,
                "group_size": workload.group_size,
            },
            "against": other.name,
            "dtype": dtype,
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "threads": torch.get_num_threads(),
            "rounds": rounds,
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


def _sides(
    checkpoint: Path,
    workload: Workload,
    against: Against,
    dtype: Literal["float32", "bfloat16"],
    threads: int | None,
    micro_tokens: int,
) -> tuple[Side, Side]:
    config = ModelConfig(family=FAMILY, path=str(checkpoint), dtype=dtype, threads=threads)
    policy = load_policy(config, seed=0)
    use_packed_attention(policy.model)
    rows = make_rows(policy, workload)
    completions_PG = make_completions(policy, workload, seed=0)
    # TRL takes no media token out of the distribution, so neither do we for the comparison
    bare = replace(policy, banned_ids=())

    def ours(name: str, sharing: Sharing) -> Side:
        side = Ours(
            policy=bare,
            rows=rows,
            completions_PG=completions_PG,
            workload=workload,
            sharing=sharing,
            micro_tokens=micro_tokens,
        )
        return Side(name=name, step=side.step, logprobs=side.logprobs)

    if against != "trl":
        return ours("mmrl", "packed"), ours(against, against)
    from mmrl.bench.theirs import Theirs

    theirs = Theirs(checkpoint, rows, completions_PG, workload, dtype=dtype)
    return ours("mmrl", "packed"), Side(name="trl", step=theirs.step, logprobs=theirs.logprobs)


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
