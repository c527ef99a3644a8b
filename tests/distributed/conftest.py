"""A small project whose rows show different media, and runs of it in one or two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# neighbours differ, so that two processes never show their encoders the same kinds of media
PARTS = (["image:a.png"], ["audio:a.wav"], [], ["video:a.mp4"], ["image:b.png"], ["audio:b.wav"])
STAGE = """
kind: grpo
model: {family: qwen2_5_omni, tiny: qwen2_5_omni, device: cpu, threads: 1%(freeze)s}
media: {video_fps: 4}
data: {train: {toy: {path: %(folder)s/rows.jsonl}}, heldout: {toy: {path: %(folder)s/rows.jsonl, limit: 3}}}
optim: {steps: 4, lr: 1.0e-3, micro_tokens: 300}
rollout: {prompts_per_step: 6, group_size: 4, max_new_tokens: 12}
algo: {kl_weight: 0.05, entropy_weight: 0.02}
rewards: {terms: {accuracy: {}, rep: {name: repetition}, vote: {name: exact, weight: 0.5}}}
checkpoint: {every: 1}
"""


@pytest.fixture(scope="session")
def project(tmp_path_factory, media_folder) -> Path:
    """Stages `free`, in which everything learns, and `frozen`, in which the encoders do not."""
    folder = tmp_path_factory.mktemp("project")
    lines = [json.dumps(_row(place, media_folder)) + "\n" for place in range(len(PARTS))]
    (folder / "rows.jsonl").write_text("".join(lines))
    (folder / "configs" / "stage").mkdir(parents=True)
    for name, freeze in (("free", ""), ("frozen", ", freeze: ['^visual', '^audio_tower']")):
        text = STAGE % {"folder": folder, "freeze": freeze}
        (folder / "configs" / "stage" / f"{name}.yaml").write_text(text)
    return folder


def _row(place: int, media: Path) -> dict[str, object]:
    content = [
        {
            "type": part.partition(":")[0],
            part.partition(":")[0]: str(media / part.partition(":")[2]),
        }
        for part in PARTS[place]
    ]
    return {
        "id": f"r{place}",
        "source": "toy",
        "prompt": [{"role": "user", "content": [*content, {"type": "text", "text": "how many?"}]}],
        "answer": str(place % 2),
        "verifier": "exact",
    }


@pytest.fixture(scope="session")
def start(project) -> Callable[..., subprocess.Popen]:
    """Start `mmrl train` with arguments."""

    def start(*arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "mmrl", "--project", str(project), "train", *arguments]
        return subprocess.Popen(
            command,
            env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def train(start, tmp_path_factory) -> Callable[..., Path]:
    """Train to the end; return the run folder."""

    def train(*arguments: str, out: Path | None = None) -> Path:
        out = out or tmp_path_factory.mktemp("run") / "run"
        given = [] if any(word.startswith("resume=") for word in arguments) else [f"out={out}"]
        process = start(*arguments, *given)
        text, _ = process.communicate(timeout=300)
        assert process.returncode == 0, text
        return out

    return train


@pytest.fixture(scope="session")
def alone(train) -> dict[str, Path]:
    """Both stages in one process."""
    return {name: train(f"stage={name}") for name in ("free", "frozen")}
