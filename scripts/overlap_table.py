"""Measures what judging beside sampling saves, and prints the table of docs/overlap.md.

    python scripts/overlap_table.py --weights runs/quickstart/001/checkpoints/sft-000500-final

Each verifier takes its time and changes no reward, so that all runs of a way to sample learn the
same. Medians are over the steps after the first two.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console

from mmrl.config.loader import load_run
from mmrl.curriculum.runner import train
from mmrl.project import find_project
from mmrl.reward import verifier
from mmrl.screen import Screen
from mmrl.types import Sample

VERIFIERS = {"none": None, "remote": "takes_a_while", "cpu": "computes_a_while"}
WAYS = {
    "one after the other": [],
    "prompts_per_batch=4": ["rollout.prompts_per_batch=4"],
    "async_steps=1": ["rollout.async_steps=1"],
    "both": ["rollout.prompts_per_batch=4", "rollout.async_steps=1"],
}
TASK = (
    "stage=quickstart/grpo",
    "model.threads=1",
    "checkpoint.every=1000",
    "eval.limit=1",
    "rollout.prompts_per_step=16",
    "rollout.max_new_tokens=48",
    "log.rollouts=false",
)


@verifier(threads=16)
def takes_a_while(*, seconds: float = 0.05):
    """Wait, as for a judge on another machine."""

    def judge(sample: Sample) -> float:
        time.sleep(seconds)
        return 1.0

    return judge


@verifier(isolated=True)
def computes_a_while(*, seconds: float = 0.01):
    """Keep a core busy, as symbolic mathematics does."""

    def judge(sample: Sample) -> float:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
        return 1.0

    return judge


def main() -> None:
    """Train every combination, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", help="a checkpoint to start from; random weights without it")
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--rounds", type=int, default=1, help="of all ways, in turn")
    parser.add_argument("--verifiers", nargs="+", choices=VERIFIERS, default=[*VERIFIERS])
    arguments = parser.parse_args()
    shared = [*TASK, f"optim.steps={arguments.steps}"]
    if arguments.weights:
        shared += [f"model.path={arguments.weights}", "model.tiny=null"]
    print("| verifier | way | step, s | prompts | sample | judge | update | judging | idle |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.verifiers:
        term = VERIFIERS[name]
        lines: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(arguments.rounds):
            for way, keys in WAYS.items():
                terms = [f"rewards.terms.slow={{name: {term}, weight: 0}}"] if term else []
                lines[way] += _clocks([*shared, *keys, *terms])
        for way, found in lines.items():
            print(f"| {name} | {way} | {_medians(found)} |", flush=True)


def _clocks(overrides: list[str]) -> list[dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        loaded = load_run([*overrides, f"out={out}"], find_project())
        train(loaded, Screen(console=Console(file=io.StringIO())))
        lines = map(json.loads, (out / "timings.jsonl").read_text().splitlines())
        steps = [line for line in lines if "step_s" in line]
    # the first steps start workers; the last one begins nothing ahead
    return steps[2:-1]


def _medians(steps: list[dict[str, float]]) -> str:
    keys = ("step_s", "prompts_s", "sample_s", "judge_s", "update_s", "judge_busy_s")
    shown = [f"{median(line[key] for line in steps):.2f}" for key in keys]
    idle = sum(line["idle_frac"] * line["step_s"] for line in steps)
    return " | ".join([*shown, f"{idle / sum(line['step_s'] for line in steps):.0%}"])


if __name__ == "__main__":
    main()
