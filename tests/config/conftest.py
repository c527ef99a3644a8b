from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmrl.config.loader import LoadedRun, load_run
from mmrl.errors import UserError

FILES = {
    "stage/toy/base.yaml": """
        defaults:
          - model: tiny
          - /data: toy
        optim: {steps: 10, lr: 1e-3}
    """,
    "stage/toy/sft.yaml": """
        defaults: [base]
        kind: sft
        optim: {steps: 5}
    """,
    "stage/toy/grpo.yaml": """
        defaults:
          - base
          - algo: dapo
        kind: grpo
        rollout: {group_size: 4, prompts_per_step: "${rollout.group_size}"}
        rewards:
          terms:
            accuracy: {weight: 0.9}
            length: {name: overlong, weight: {0: 0.1, 0.5: 0.2}, params: {unit: yes}}
    """,
    "curriculum/toy.yaml": """
        stages:
          sft: {stage: toy/sft}
          grpo: {stage: toy/grpo, optim: {lr: 5e-4}}
    """,
    "model/tiny.yaml": "{family: qwen2_5_omni, tiny: qwen2_5_omni}",
    "model/big.yaml": "{family: qwen2_5_vl, path: Qwen/Qwen2.5-VL-7B-Instruct, dtype: bfloat16}",
    "data/toy.yaml": 'train: {a: {pipeline: colour, params: {seed: "${run.seed}"}}}',
    "algo/dapo.yaml": "loss: dapo",
    "algo/plain.yaml": "{loss: grpo, kl_weight: 0.1}",
    "launch/node.yaml": "{processes: 4, strategy: zero2}",
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], None]:
    """Write a file of the project's configs/."""

    def write(name: str, text: str) -> None:
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.strip("\n").split("\n")
        indent = min(
            (len(line) - len(line.lstrip(" ")) for line in lines if line.strip()), default=0
        )
        path.write_text("".join(f"{line[indent:]}\n" for line in lines).rstrip(" "))

    return write


@pytest.fixture
def project(
    tmp_path: Path, write: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A project of two stages and a curriculum; the current folder is in it."""
    for name, text in FILES.items():
        write(name, text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load(project: Path) -> Callable[..., LoadedRun]:
    """Load what `mmrl train` would run."""
    return lambda *arguments: load_run(arguments, project)


@pytest.fixture
def mistakes(project: Path) -> Callable[..., list[str]]:
    """The lines with which arguments are refused."""

    def mistakes(*arguments: str) -> list[str]:
        with pytest.raises(UserError) as caught:
            load_run(arguments, project)
        return str(caught.value).splitlines()

    return mistakes
