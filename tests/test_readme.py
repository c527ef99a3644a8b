"""What the README shows is what mmrl does."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmrl.cli import cli
from mmrl.data.row_format import parse_row

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands(program: str) -> list[list[str]]:
    lines = (line for block in blocks("sh") for line in block.splitlines())
    return [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]


def tried(block: str) -> list[list[str]]:
    """The commands of a block; a training run that is not dry takes minutes, and `resume` goes on in
    a folder that a reader has."""
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    words = [line[1:] for line in lines if line[:1] == ["mmrl"]]
    return [line for line in words if line[0] != "train" or "--dry-run" in line]


TRIED = [found for block in blocks("sh") if (found := tried(block))]


@pytest.mark.parametrize("typed", TRIED, ids=[" ".join(block[0]) for block in TRIED])
def test_the_commands_of_a_block_work_one_after_the_other(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in typed:
        result = CliRunner().invoke(cli, ["--project", str(ROOT), *words])
        assert result.exit_code == 0, (words, result.output)
        assert "Traceback" not in result.output


@pytest.mark.parametrize("words", commands("make"), ids=lambda words: words[1])
def test_make_knows_the_two_commands(words):
    planned = subprocess.run(
        ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert planned.returncode == 0, planned.stderr


def test_the_stage_file_is_the_one_that_is_run():
    shown = next(block for block in blocks("yaml") if "kind: grpo" in block)
    assert shown == (ROOT / "configs/stage/quickstart/grpo.yaml").read_text()


def test_the_row_is_a_row(tmp_path):
    row = parse_row(json.loads(blocks("json")[0]), where="README.md", folder=tmp_path)
    assert row.modality == "image"
    assert row.verifier[0].name == "math"


def test_the_reward_is_a_reward(tmp_path, monkeypatch):
    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards" / "same_word.py").write_text(blocks("python")[0])
    tried = ["rewards", "try", "same_word", "--answer", "Red", "--text", "<answer>RED</answer>"]
    command = [sys.executable, "-m", "mmrl", "--project", str(tmp_path), *tried]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1" in done.stdout


def test_the_losses_and_advantages_are_those_of_the_schema():
    from typing import get_args

    from mmrl.config.schema import AlgoConfig

    for key in ("loss", "advantage"):
        for name in get_args(AlgoConfig.model_fields[key].annotation):
            assert f"`{name}`" in README
