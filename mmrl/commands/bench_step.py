"""`mmrl bench step`: a training step of mmrl beside another way to make it."""

from __future__ import annotations

import json
from typing import Any

import click

from mmrl.project import find_project

_NAMES = {"rollout": "rollout", "scoring_backward": "scoring + backward", "step": "whole step"}


@click.command()
@click.option(
    "--model",
    default="small",
    show_default=True,
    help="tiny, small, 3b or 7b (random weights), a file of configs/model/, or a checkpoint.",
)
@click.option("--prompts", type=click.IntRange(1), default=2, show_default=True)
@click.option("--prompt-tokens", type=click.IntRange(1), default=432, show_default=True)
@click.option("--completion-tokens", type=click.IntRange(1), default=32, show_default=True)
@click.option("--group-size", type=click.IntRange(2), default=8, show_default=True)
@click.option(
    "--against",
    type=click.Choice(["trl", "none", "encoder"]),
    default="trl",
    show_default=True,
    help="TRL's GRPOTrainer, or mmrl with less in common.",
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores if not given.")
@click.option("--micro-tokens", type=click.IntRange(1), default=65_536, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.pass_context
def step(
    ctx: click.Context,
    model: str,
    prompts: int,
    prompt_tokens: int,
    completion_tokens: int,
    group_size: int,
    *,
    as_json: bool,
    rounds: int,
    **options: Any,
) -> None:
    """Time a GRPO step on the same weights, prompts and completions, in turn with another way.

    Ratios are of medians; token bound is G (P + C) / (P + G C), what sharing a prompt saves in
    tokens.
    """
    from mmrl.bench.step import measure_step
    from mmrl.bench.task import Workload

    workload = Workload(
        prompts=prompts,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        group_size=group_size,
    )
    report = measure_step(
        model,
        workload,
        project=find_project(ctx.find_root().obj),
        rounds=rounds,
        on_round=lambda number: click.echo(f"round {number} of {rounds}", err=True),
        **options,
    )
    click.echo(json.dumps(report) if as_json else _table(report))


def _table(report: dict[str, Any]) -> str:
    other = report["against"]
    seconds, memory = report["seconds"], report["peak_memory"]
    lines = [f"{'':20} {'mmrl':>12} {other:>12} {'ratio':>8}"]
    for phase, name in _NAMES.items():
        ours, theirs = seconds["mmrl"][phase], seconds[other][phase]
        lines.append(f"{name:20} {ours:>10.2f} s {theirs:>10.2f} s {theirs / ours:>8.2f}")
    ours, theirs = (memory[side] / 2**20 for side in ("mmrl", other))
    lines.append(f"{'peak memory':20} {ours:>8.0f} MiB {theirs:>8.0f} MiB {theirs / ours:>8.2f}")
    return "\n".join(
        [
            *lines,
            f"token bound {report['token_bound']:.2f}; largest difference of a log-prob "
            f"{report['max_logprob_diff']:.1e}, of a gradient {report['max_grad_rel_diff']:.1e}",
        ]
    )
