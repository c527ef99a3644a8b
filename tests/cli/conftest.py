from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a stage that could be trained."""
    files = {
        "stage/toy/sft.yaml": "defaults: [model: mini]\nkind: sft\noptim: {steps: 2}\n"
        "data: {train: {a: {path: rows.jsonl}}}\n",
        "stage/toy/grpo.yaml": "defaults: [sft]\nkind: grpo\n"
        "rewards: {terms: {form: {name: think_answer}}}\n",
        "curriculum/both.yaml": "stages: {cold: {stage: toy/sft}, warm: {stage: toy/grpo}}\n",
        "model/mini.yaml": "{family: qwen2_5_vl, tiny: qwen2_5_vl}\n",
    }
    for name, text in files.items():
        path = tmp_path / "project" / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "project"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with `mmrl` on the path, and no project chosen."""
    script = tmp_path / "bin" / "mmrl"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from mmrl.cli import main\nmain()\n"
    )
    script.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name != "MMRL_PROJECT"}
    return {**kept, "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def mmrl(project: Path, environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess]:
    """Run `mmrl` in the project."""
    return lambda *arguments: subprocess.run(
        ["mmrl", *arguments], cwd=project, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def imported(project: Path, environment: dict[str, str]) -> Callable[..., tuple[int, set[str]]]:
    """Run `mmrl` and say with which code it ended and which packages it imported."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from mmrl.cli import run; "
        "code = run(sys.argv[1:]); "
        "print('\\n#', code, *{name.split('.')[0] for name in sys.modules})"
    )

    def imported(*arguments: str) -> tuple[int, set[str]]:
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
        _, code_text, *names = done.stdout.splitlines()[-1].split()
        return int(code_text), set(names)

    return imported
