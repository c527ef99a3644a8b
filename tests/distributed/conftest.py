"""A small project whose rows show different media, and runs of it in one or two processes."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmrl.config.yaml12 import flow

CHANCE = '''
"""Right by chance, so that groups of a model that knows nothing differ; and slow when asked to be."""
import hashlib
import os
import time
from pathlib import Path

from mmrl.reward import verifier


@verifier
def chance(*, share: float = 0.3):
    """1.0 for the row's answer, and for a share of all other texts."""

    def judge(sample):
        if folder := os.environ.get("MARKS"):
            (Path(folder) / f"judging-{os.environ.get('RANK', 0)}").touch()
            while (Path(folder) / "hold").exists():
                time.sleep(0.01)
        if sample.answer is not None:
            return float(sample.answer == sample.row.answer)
        digest = hashlib.blake2b(f"{sample.row.id} {sample.text}".encode()).digest()
        return float(digest[0] < 256 * share)

    return judge
'''
# neighbours differ, so that two processes never show their encoders the same kinds of media
PARTS = (
    ("image", "a.png"),
    ("audio", "a.wav"),
    None,
    ("video", "a.mp4"),
    ("image", "b.png"),
    ("audio", "b.wav"),
    None,
)
MODEL = {"family": "qwen2_5_omni", "tiny": "qwen2_5_omni", "device": "cpu", "threads": 1}
SHORT = {"prompts_per_step": 5, "group_size": 3, "max_new_tokens": 10}
BASE = {
    "kind": "grpo",
    "start": "base",
    "model": MODEL,
    "media": {"video_fps": 4},
    "optim": {"steps": 2, "lr": 1.0e-3, "micro_tokens": 130},
    "rollout": SHORT,
    "rewards": {"terms": {"accuracy": {}}},
}
FREE = {
    "checkpoint": {"every": 1},
    "optim": {"steps": 3, "lr": 1.0e-3, "micro_tokens": 300},
    "rollout": {"prompts_per_step": 6, "group_size": 4, "max_new_tokens": 12},
    "algo": {"kl_weight": 0.05, "entropy_weight": 0.02},
    "rewards": {"terms": {"accuracy": {}, "rep": {"name": "repetition"}}},
}
ALL = {
    "lora": {"rank": 4, "targets": "all"},
    "gradient_checkpointing": True,
}
TERMS = {"accuracy": {}, "likely": {"name": "reference_probability"}}
STAGES = {
    # everything learns
    "free": FREE,
    # the encoders do not; scores from before several optimizer steps, and a reference that moves
    "frozen": {
        "model": MODEL | {"freeze": "encoders"},
        "algo": FREE["algo"]
        | {"minibatches": 2, "high_entropy_share": 0.5, "reference_reset": {"every": 1}},
        "rollout": SHORT | {"prompts_per_step": 4},
        "optim": {"steps": 2, "lr": 1.0e-4, "micro_tokens": 130},
    },
    # other numbers of draws, of passes and of completions in each process
    "helped": {
        "guidance": {"kind": "scaf_grpo", "exempt": 0.0},
        "filter": {"kind": "spread", "max_draws": 2},
        "algo": {"empg": {}},
    },
    "taught": {
        "guidance": {"kind": "ampo"},
        "rollout": SHORT | {"max_new_tokens": 30},
        "algo": {"advantage": "dr_grpo", "imitation": {"weight": 0.3}},
        "rewards": {"terms": TERMS},
    },
    # one group, which one process has
    "few": {
        "rollout": SHORT | {"prompts_per_step": 1, "group_size": 8},
        "sampling": {"kind": "value", "candidates": 3},
        "algo": {"kl_weight": 0.1, "reference_reset": {"every": 2}},
        "optim": {"steps": 3, "lr": 1.0e-3},
    },
    "adapted": {
        "model": MODEL | ALL,
        "algo": {"kl_weight": 0.1, "epochs": 2, "minibatches": 2},
        "rollout": SHORT | {"prompts_per_step": 4},
    },
    "imitated": {"kind": "sft", "optim": {"steps": 2, "batch_size": 5, "micro_tokens": 130}},
    "picked": {"kind": "select", "select": {"high": 0.9}},
}
GROUP_KEYS = ("rewards", "optim")


@pytest.fixture(scope="session")
def project(tmp_path_factory, media_folder) -> Path:
    """Stages, and `every`, the curriculum of all of them but `free`."""
    folder = tmp_path_factory.mktemp("project")
    lines = [json.dumps(_row(place, media_folder)) + "\n" for place in range(len(PARTS))]
    (folder / "rows.jsonl").write_text("".join(lines))
    (folder / "rewards").mkdir()
    (folder / "rewards" / "chance.py").write_text(CHANCE)
    for group in ("stage", "curriculum"):
        (folder / "configs" / group).mkdir(parents=True)
    for name, sections in STAGES.items():
        stage = BASE | _data(folder) | sections
        for key in {"sft": ("rollout", "rewards"), "select": GROUP_KEYS}.get(stage["kind"], ()):
            del stage[key]
        if stage["kind"] == "select":
            del stage["data"]["heldout"]
        (folder / "configs" / "stage" / f"{name}.yaml").write_text(flow(stage))
    every = {name: {"stage": name} for name in STAGES if name != "free"}
    (folder / "configs" / "curriculum" / "every.yaml").write_text(flow({"stages": every}))
    return folder


def _data(folder: Path) -> dict[str, object]:
    rows = str(folder / "rows.jsonl")
    return {
        "data": {"train": {"toy": {"path": rows}}, "heldout": {"toy": {"path": rows, "limit": 3}}}
    }


def _row(place: int, media: Path) -> dict[str, object]:
    part, answer = PARTS[place], f"<answer>{place}</answer>"
    shown = [] if part is None else [{"type": part[0], part[0]: str(media / part[1])}]
    return {
        "id": f"r{place}",
        "source": "toy",
        "prompt": [{"role": "user", "content": [*shown, {"type": "text", "text": f"{place}?"}]}],
        "answer": str(place),
        "verifier": "chance",
        "response": f"<think>so it is</think>{answer}",
        "extra": {
            "hints": {"knowledge": ["a", "b"], "planning": ["c"], "solution": ["d"]},
            "traces": [f"it is {answer}", f"I say {answer}", "<answer>no</answer>"],
        },
    }


@pytest.fixture(scope="session")
def start(project) -> Callable[..., subprocess.Popen]:
    """Start `mmrl train` with arguments, or what starts it in other ways."""

    def start(*arguments: str, by: tuple[str, ...] = (sys.executable, "-m"), **more: str):
        command = [*by, "mmrl", "--project", str(project), "train", *arguments]
        return subprocess.Popen(
            command,
            env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


@pytest.fixture(scope="session")
def train(start, tmp_path_factory) -> Callable[..., Path]:
    """Train to the end; return the run folder."""

    def train(*arguments: str, out: Path | None = None, **more) -> Path:
        out = out or tmp_path_factory.mktemp("run") / "run"
        given = [] if any(word.startswith("resume=") for word in arguments) else [f"out={out}"]
        process = start(*arguments, *given, **more)
        text, _ = process.communicate(timeout=300)
        assert process.returncode == 0, text
        return out

    return train


@pytest.fixture(scope="session")
def two() -> Callable[..., list[str]]:
    """The arguments for two processes."""

    def two(strategy: str, timeout_s: float = 60) -> list[str]:
        if strategy.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
            pytest.skip("needs deepspeed")
        return [
            "launch.processes=2",
            f"launch.strategy={strategy}",
            "launch.backend=gloo",
            f"launch.timeout_s={timeout_s}",
        ]

    return two


@pytest.fixture(scope="session")
def alone(train) -> Path:
    """The stage `free` in one process."""
    return train("stage=free")


@pytest.fixture(scope="session")
def unbroken(train, two) -> Callable[[str], Path]:
    """The stage `free` in two processes that nothing happens to."""
    runs: dict[str, Path] = {}

    def unbroken(strategy: str) -> Path:
        if strategy not in runs:
            runs[strategy] = train("stage=free", *two(strategy))
        return runs[strategy]

    return unbroken


@pytest.fixture(scope="session")
def run_both() -> Callable[..., list[dict]]:
    """Run a script in two processes that may meet; return what each wrote into the folder."""

    def run_both(worker: Path, *arguments: str, out: Path) -> list[dict]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        processes = [
            subprocess.Popen(
                [sys.executable, str(worker), *arguments],
                env=os.environ
                | _TORCHRUN
                | {"RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in ("0", "1")
        ]
        said = [process.communicate(timeout=120)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
        return [json.loads((out / f"found-{rank}.json").read_text()) for rank in (0, 1)]

    return run_both


_TORCHRUN = {
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "OMP_NUM_THREADS": "1",
    # what is given back goes to the system at once, so that it can be measured
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
