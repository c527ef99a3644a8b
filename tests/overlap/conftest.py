"""A small project of questions in words, pictures and videos, and runs of it in this process."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from mmrl.config.loader import load_run
from mmrl.curriculum.runner import train
from mmrl.reward import verifier
from mmrl.screen import Screen
from mmrl.types import Sample

STAGE = """
kind: grpo
model: {family: qwen2_5_omni, tiny: qwen2_5_omni, device: cpu, threads: 1}
media: {video_fps: 4}
data: {train: {toy: {path: %(folder)s/%(rows)s.jsonl}}}
optim: {steps: 5, lr: 1.0e-3}
rollout: {prompts_per_step: 4, group_size: 4, max_new_tokens: 8}
checkpoint: {every: 3, keep: 5}
"""
WORDS = [[]] * 6
SHOWN = [["video:a.mp4"], [], ["image:a.png"], ["video:b.mp4"], [], ["audio:a.wav"]]


@verifier
def vowels():
    """1.0 for many vowels, or few: even a model without any training has either now and then."""

    def judge(sample: Sample) -> float:
        if sample.answer in ("many", "few"):
            return float(sample.answer == sample.row.answer)
        share = sum(sample.text.count(vowel) for vowel in "aeiou") / max(1, len(sample.text))
        return float((share > 0.3) == (sample.row.answer == "many"))

    return judge


@pytest.fixture(scope="session")
def project(tmp_path_factory, media_folder) -> Path:
    """Stages `words`, whose questions show nothing, and `shown`, whose questions do."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "configs" / "stage").mkdir(parents=True)
    for name, parts in (("words", WORDS), ("shown", SHOWN)):
        lines = [json.dumps(_row(place, parts, media_folder)) + "\n" for place in range(6)]
        (folder / f"{name}.jsonl").write_text("".join(lines))
        text = STAGE % {"folder": folder, "rows": name}
        (folder / "configs" / "stage" / f"{name}.yaml").write_text(text)
    return folder


def _row(place: int, parts: list[list[str]], media: Path) -> dict[str, object]:
    shown = [part.split(":") for part in parts[place]]
    content = [{"type": kind, kind: str(media / name)} for kind, name in shown]
    text = {"type": "text", "text": f"how many{' and' * place}?"}
    return {
        "id": f"r{place}",
        "source": "toy",
        "prompt": [{"role": "user", "content": [*content, text]}],
        "answer": ("many", "few")[place % 2],
        "verifier": "vowels",
    }


@pytest.fixture(scope="session")
def go(project, tmp_path_factory) -> Callable[..., Path]:
    """Train in this process; return the run folder."""

    def go(*arguments: str, stage: str = "words", out: Path | None = None) -> Path:
        out = out or tmp_path_factory.mktemp("run") / "run"
        screen = Screen(console=Console(file=io.StringIO()))
        return train(load_run([f"stage={stage}", f"out={out}", *arguments], project), screen)

    return go


@pytest.fixture(scope="session")
def lines() -> Callable[[Path], list[dict]]:
    """The lines of a log."""

    def read(path: Path) -> list[dict]:
        return [json.loads(line) for line in path.read_text().splitlines()]

    return read


@pytest.fixture(scope="session")
def steps(lines) -> Callable[[Path], list[dict]]:
    """The metrics of a run's steps."""

    def read(run: Path) -> list[dict]:
        return [line for line in lines(run / "metrics.jsonl") if "policy/loss" in line]

    return read
