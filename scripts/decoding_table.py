"""Measures how long training waits for prompts with and without workers that decode ahead, and
prints the table of docs/media.md.

    python scripts/decoding_table.py

The rows are made up: half of them show a picture of 448 x 448 pixels, half a clip of 16 frames of
640 x 360. A tiny model learns from them, so that the figures are those of decoding, not of a model.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from pathlib import Path
from statistics import mean

import numpy as np
from rich.console import Console

from mmrl.config.loader import load_run
from mmrl.curriculum.runner import train
from mmrl.media.writers import write_mp4, write_png
from mmrl.screen import Screen

STAGE = """
kind: grpo
model: {family: qwen2_5_vl, tiny: qwen2_5_vl, device: cpu, threads: 1, freeze: vision}
media: {video_fps: 4, video_max_frames: 16, cache_mb: 0}
data: {train: {toy: {path: rows.jsonl}}}
optim: {steps: 8}
rollout: {prompts_per_step: PROMPTS, group_size: 4, max_new_tokens: 4}
rewards: {terms: {accuracy: {}}}
checkpoint: {every: 1000}
log: {rollouts: false}
"""
PROMPTS = 6
"""Of a step."""
ROWS = 48
SKIPPED = 2
"""Steps before workers are there."""


def main() -> None:
    """Train once for each number of workers and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        _write_project(project)
        print("| `media.workers` | waiting for prompts, s per step | step, s | ready when asked |")
        print("|---|---|---|---|")
        for workers in arguments.workers:
            print(_line(project, workers), flush=True)


def _write_project(project: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [_row(project, place, rng) for place in range(ROWS)]
    (project / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (project / "configs" / "stage").mkdir(parents=True)
    text = STAGE.replace("rows.jsonl", str(project / "rows.jsonl")).replace("PROMPTS", str(PROMPTS))
    (project / "configs" / "stage" / "decoding.yaml").write_text(text)


def _row(project: Path, place: int, rng: np.random.Generator) -> dict[str, object]:
    kind = ("image", "video")[place % 2]
    file = project / f"{place}.{('png', 'mp4')[place % 2]}"
    if kind == "image":
        write_png(file, rng.integers(0, 256, (448, 448, 3), dtype=np.uint8))
    else:
        # a scene that moves: neighbouring frames are alike, as in real clips
        scene = rng.integers(0, 256, (45, 96, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        frames = [scene[:, shift : shift + 640] for shift in range(0, 128, 8)]
        write_mp4(file, np.stack(frames), fps=4)
    content = [{"type": kind, kind: str(file)}, {"type": "text", "text": "What is shown?"}]
    return {
        "id": f"r{place}",
        "source": "toy",
        "prompt": [{"role": "user", "content": content}],
        "answer": "3",
        "verifier": "exact",
    }


def _line(project: Path, workers: int) -> str:
    out = project / f"run{workers}"
    run = load_run(["stage=decoding", f"out={out}", f"media.workers={workers}"], project)
    train(run, Screen(console=Console(file=io.StringIO())))
    lines = [json.loads(line) for line in (out / "timings.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "media_ahead" in line]
    counted = steps[SKIPPED:]
    waited, whole = (mean(step[name] for step in counted) for name in ("prompts_s", "step_s"))
    ready = steps[-1]["media_ahead"] - steps[SKIPPED - 1]["media_ahead"]
    return f"| {workers} | {waited:.2f} | {whole:.2f} | {ready:.0f} of {len(counted) * PROMPTS} |"


if __name__ == "__main__":
    main()
