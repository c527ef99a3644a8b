"""Compares ways to spend the same number of sampled tokens on the synthetic tasks, and prints the
table of docs/benchmarks/curricula.md.

    python scripts/compare_curricula.py --out runs/compare --seeds 0 1 2
    python scripts/compare_curricula.py --out runs/compare --stage compare/solved --tokens 60000

Each seed has one cold start; every variant goes on from its weights until `--tokens` completion
tokens were sampled, dropped groups included. What is done is kept: a stopped comparison goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean

VARIANTS: dict[str, tuple[str, ...]] = {
    "plain GRPO": (),
    "dynamic sampling (DAPO)": ("filter=dapo",),
    "online difficulty filter": ("filter=online_difficulty",),
    "pass-rate window": ("sampling=window",),
    "easy to hard": ("sampling=easy_to_hard",),
    "ODSW, medium": ("weight=odsw_medium",),
    "bandit over sources (DUMP)": ("mixture=bandit",),
    "bandit and ODSW, medium": ("mixture=bandit", "weight=odsw_medium"),
    "prompt-value model (PCL)": ("sampling=value",),
    "majority vote, no labels": (
        "rewards.terms.accuracy=null",
        "rewards.terms.vote={name: majority_vote, weight: 0.9}",
    ),
    "no cold start": ("model.path=null", "model.tiny=qwen2_5_omni"),
}


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--stage", default="compare/grpo")
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--cold-steps", type=int, default=500)
    arguments = parser.parse_args()
    found: dict[str, dict[int, float]] = {}
    for seed in arguments.seeds:
        cold = arguments.out / f"cold-{seed}"
        _train(cold, "stage=quickstart/sft", f"optim.steps={arguments.cold_steps}", f"seed={seed}")
        weights = max((cold / "checkpoints").glob("*-final"))
        found.setdefault("after the cold start", {})[seed] = _accuracy(cold)
        for name in dict.fromkeys(["plain GRPO", *arguments.only]):
            folder = arguments.out / f"{_slug(arguments.stage)}-{arguments.tokens}"
            folder /= f"{_slug(name)}-{seed}"
            _train(
                folder,
                f"stage={arguments.stage}",
                f"seed={seed}",
                f"stop.tokens={arguments.tokens}",
                "model.tiny=null",
                f"model.path={weights}",
                *VARIANTS[name],
            )
            found.setdefault(name, {})[seed] = _accuracy(folder)
    _print(found, arguments.seeds)


def _train(folder: Path, *arguments: str) -> None:
    if (folder / "report.html").exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    resume = ["resume=auto"] if folder.exists() else []
    print(folder.name, file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "mmrl", "train", *arguments, f"out={folder}", *resume]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _accuracy(folder: Path) -> float:
    """Mean over tasks of the last held-out accuracy."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if any(key.startswith("eval/task/") for key in line)][-1]
    return fmean(value for key, value in last.items() if key.startswith("eval/task/"))


def _print(found: dict[str, dict[int, float]], seeds: list[int]) -> None:
    columns = " | ".join(f"seed {seed}" for seed in seeds)
    print(f"| variant | {columns} | mean | beats plain GRPO |")
    print("|---|" + "--:|" * (len(seeds) + 2))
    plain = found["plain GRPO"]
    for name, by_seed in found.items():
        values = [by_seed[seed] for seed in seeds]
        wins = sum(by_seed[seed] > plain[seed] for seed in seeds)
        beats = "" if name in ("plain GRPO", "after the cold start") else f"{wins} of {len(seeds)}"
        cells = " | ".join(f"{100 * value:.1f}" for value in values)
        print(f"| {name} | {cells} | {100 * fmean(values):.1f} | {beats} |")


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


if __name__ == "__main__":
    main()
