"""docs/vllm.md is true: its commands are accepted, and the one for machines without a GPU trains
(`make test-vllm` runs that).
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mmrl.cli import run
from mmrl.commands.serve import NEEDED, command

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "vllm.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [shlex.split(line) for block in BLOCKS for line in block.splitlines()]
TRAINED = [words for words in COMMANDS if words[1] == "train"]


@pytest.mark.parametrize("words", TRAINED, ids=lambda words: words[-1])
def test_training_with_vllm_is_accepted(words, capsys):
    assert run(["--project", str(ROOT), *words[1:], "--dry-run"]) == 0, capsys.readouterr().err


def test_the_page_says_what_serving_adds():
    (served,) = [words for words in COMMANDS if words[1] == "serve"]
    assert command(served[2], tuple(served[3:]))[0] == sys.executable
    for option in NEEDED:
        assert option in PAGE


def test_what_is_typed_by_hand_is_what_make_does():
    recipe = (ROOT / "Makefile").read_text()
    lines = re.findall(r"^    \.venv-vllm/bin/pip (.*)$", PAGE, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        for word in shlex.split(line):
            assert word in recipe.replace("'$(TORCH)'", "torch"), word


@pytest.mark.skipif(find_spec("vllm") is None, reason="needs vllm (make test-vllm)")
def test_training_without_a_gpu_samples_what_it_scores(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (words,) = [words for words in TRAINED if "stage=quickstart/grpo" in words]
    fewer = ("optim.steps=2", "rollout.prompts_per_step=6", "rollout.group_size=2", "eval.limit=4")
    # a model of random weights is never right, and learns from this alone
    entropy = ("algo.entropy_weight=0.01", "algo.drop_agreeing=false")
    done = run(["--project", str(ROOT), *words[1:], *fewer, *entropy, "out=run"])
    assert done == 0, capfd.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    gaps = [line["policy/sampling_gap"] for line in lines if "policy/sampling_gap" in line]
    assert len(gaps) == 2
    assert all(0 < gap < 1e-4 for gap in gaps)
