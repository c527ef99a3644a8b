"""Measures `mmrl bench step` over prompt length, completion length and group size, and prints the
table of docs/benchmarks/step.md.

    python scripts/step_table.py --model tiny --against none --most-tokens 40000
"""

from __future__ import annotations

import argparse
import itertools
import sys

from mmrl.bench.step import measure_step
from mmrl.bench.task import Workload

PROMPTS, COMPLETIONS, GROUPS = (128, 512, 2048, 4096), (32, 128, 512), (2, 8, 32)


def main() -> None:
    """Print one line of the table per workload that is not too large without sharing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--against", default="none")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--most-tokens", type=int, default=40_000)
    arguments = parser.parse_args()
    print("| P | C | G | bound | scoring + backward | whole step | memory | gradient |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    for prompt, completion, group in itertools.product(PROMPTS, COMPLETIONS, GROUPS):
        if group * (prompt + completion) > arguments.most_tokens:
            continue
        print(f"P={prompt} C={completion} G={group}", file=sys.stderr)
        work = Workload(
            prompts=1, prompt_tokens=prompt, completion_tokens=completion, group_size=group
        )
        report = measure_step(
            arguments.model, work, against=arguments.against, rounds=arguments.rounds, threads=1
        )
        ratio, memory = report["ratio"], report["peak_memory"]
        cells = [
            str(prompt),
            str(completion),
            str(group),
            f"{report['token_bound']:.1f}",
            f"{ratio['scoring_backward']:.1f}",
            f"{ratio['step']:.1f}",
            f"{memory[arguments.against] / max(1, memory['mmrl']):.1f}",
            f"{report['max_grad_rel_diff']:.0e}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
