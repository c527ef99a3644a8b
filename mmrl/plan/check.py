"""Holds the cost model to what can be measured: `python -m mmrl.plan.check` runs a few workloads of
`mmrl bench step` on one thread of this CPU and prints prediction and measurement beside each other.

Seconds are those that the processor gave to the process, so that others on the machine count less.
"""

from __future__ import annotations

import ctypes
import gc
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from mmrl.bench.shapes import FAMILY, SHAPES, Shape
from mmrl.config.schema import Sharing
from mmrl.plan.dimensions import TINY, Dimensions, Text, Vision
from mmrl.plan.hardware import Device, measure_cpu
from mmrl.plan.media import Shown
from mmrl.plan.parameters import count_parameters
from mmrl.plan.plan import Plan, make_plan
from mmrl.plan.step import Prompts, Step

WORKLOADS = (
    ("tiny", 432, 32, 8),
    ("small", 128, 32, 8),
    ("small", 432, 32, 8),
    ("small", 432, 64, 4),
)
"""Shape, tokens of a prompt and of a completion, completions of a group; one prompt each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A workload with one kind of sharing: what was predicted, and what came out."""

    workload: str
    sharing: str
    predicted: dict[str, float]
    measured: dict[str, float]


def shape_dimensions(shape: Shape) -> Dimensions:
    """The sizes of a shape of `mmrl bench step`."""
    return Dimensions(
        family=FAMILY,
        text=Text(
            hidden=shape.hidden,
            layers=shape.layers,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            intermediate=shape.intermediate,
            vocabulary=shape.vocabulary or TINY[FAMILY].text.vocabulary,
            tied=shape.tied,
            head_dim=shape.hidden // shape.heads,
        ),
        vision=Vision(
            hidden=shape.vision_hidden,
            depth=shape.vision_depth,
            heads=shape.vision_heads,
            intermediate=shape.vision_intermediate,
            window=112,
            full_layers=1,
        ),
    )


def predict(
    shape: str, prompt: int, completion: int, group: int, sharing: Sharing, device: Device
) -> Plan:
    """The plan of a workload of one prompt, a picture and a few words."""
    model = shape_dimensions(SHAPES[shape])
    text = min(16, prompt - 1)
    seen = Shown(tokens=prompt - text, units=4 * (prompt - text))
    step = Step(
        model=model,
        parameters=count_parameters(model),
        prompts=Prompts(text_tokens=text, completion_tokens=completion, seen=(seen,)),
        prompt_count=1,
        group_size=group,
        sharing=sharing,
        micro_tokens=65_536,
        max_batch=512,
        dtype="float32",
        checkpointing=False,
        world=1,
        nodes=1,
        strategy="single",
        engine="hf",
    )
    return make_plan(step, device)


def compare(workloads: Iterable[tuple[str, int, int, int]]) -> Iterator[Pair]:
    """Measure every workload in float32 with one thread, packed and without sharing."""
    import torch

    torch.set_num_threads(1)
    device = measure_cpu(1)
    for shape, prompt, completion, group in workloads:
        with tempfile.TemporaryDirectory() as folder:
            for sharing, measured in _measure(Path(folder), shape, prompt, completion, group):
                plan = predict(shape, prompt, completion, group, sharing, device)
                yield Pair(
                    workload=f"{shape}, P {prompt}, C {completion}, G {group}",
                    sharing=sharing,
                    predicted=_predicted(plan),
                    measured=measured,
                )


def _measure(
    folder: Path, shape: str, prompt: int, completion: int, group: int
) -> Iterator[tuple[Sharing, dict[str, float]]]:
    from mmrl.bench.ours import Ours
    from mmrl.bench.shapes import save_shape
    from mmrl.bench.task import Workload, make_completions, make_rows
    from mmrl.config.schema import ModelConfig
    from mmrl.model import load_policy
    from mmrl.sharing.attention import use_packed_attention

    save_shape(shape, folder, seed=0)
    policy = load_policy(ModelConfig(family=FAMILY, path=str(folder), threads=1), seed=0)
    use_packed_attention(policy.model)
    work = Workload(prompts=1, prompt_tokens=prompt, completion_tokens=completion, group_size=group)
    rows, completions_PG = make_rows(policy, work), make_completions(policy, work, seed=0)
    for sharing in _SHARINGS:
        side = Ours(
            policy=policy,
            rows=rows,
            completions_PG=completions_PG,
            workload=work,
            sharing=sharing,
            micro_tokens=65_536,
        )
        before, began, used = _start_peak(), time.perf_counter(), time.process_time()
        times, _ = side.step()
        given = (time.process_time() - used) / (time.perf_counter() - began)
        seconds = {key: value * given for key, value in asdict(times).items()}
        yield sharing, {**seconds, "peak": float(_status("VmHWM") - before)}


_SHARINGS: tuple[Sharing, ...] = ("packed", "none")


def _start_peak() -> int:
    """Forget the highest use of memory so far; the bytes that are in use now."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{key}:")).split()[1]) * 1024


def _predicted(plan: Plan) -> dict[str, float]:
    seconds = {name: part.total for name, part in plan.seconds.items()}
    rollout = sum(value for name, value in seconds.items() if name.startswith("rollout"))
    memory, step = plan.memory, plan.step
    states = sum(memory.always.values())
    # the benchmark measures what a step adds to the weights: its optimizer is new at every step,
    # and makes its moments after the backward pass, beside a copy of the gradient
    adamw = 20.0 * step.parameters.learning.total
    always = states - memory.always["optimizer states"] - memory.always["weights"]
    return {
        "rollout": rollout,
        "scoring_backward": seconds["forward"] + seconds["backward"],
        "step": plan.step_s,
        "peak": max(
            always + sum(memory.rollout.values()), always + sum(memory.update.values()), adamw
        ),
    }


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Also as JSON, a pair a line."
)
def main(out: Path | None) -> None:
    """Print prediction and measurement beside each other."""
    keys = ("rollout", "scoring_backward", "step", "peak")
    click.echo(f"| workload | sharing | {' | '.join(keys)} |\n|---|---|{'---|' * len(keys)}")
    pairs = []
    for pair in compare(WORKLOADS):
        cells = [_cell(key, pair) for key in keys]
        click.echo(f"| {pair.workload} | {pair.sharing} | {' | '.join(cells)} |")
        pairs.append(pair)
    if out is not None:
        out.write_text("".join(f"{json.dumps(asdict(pair))}\n" for pair in pairs))


def _cell(key: str, pair: Pair) -> str:
    predicted, measured = pair.predicted[key], pair.measured[key]
    scale, unit = (2**20, "MiB") if key == "peak" else (1, "s")
    return f"{predicted / scale:.3g} / {measured / scale:.3g} {unit} ({predicted / measured:.2f})"


if __name__ == "__main__":
    main()
