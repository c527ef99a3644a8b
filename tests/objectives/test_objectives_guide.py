"""docs/objectives.md is true: its objectives are accepted, its commands print what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
import yaml

from mmrl.cli import run
from mmrl.config.algo import AlgoConfig
from mmrl.config.schema import GrpoStage
from mmrl.loss import LossName

GUIDE = (Path(__file__).parents[2] / "docs" / "objectives.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
STAGE = {
    "kind": "grpo",
    "model": {"family": "qwen2_5_vl", "tiny": "qwen2_5_vl"},
    "data": {"train": {"rows": {"path": "rows.jsonl"}}},
    "optim": {"steps": 1},
}


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "yaml"])
def test_an_objective_of_the_guide_is_accepted(text):
    stage = GrpoStage.model_validate(STAGE | yaml.safe_load(text))
    assert stage.algo != AlgoConfig()


def test_commands_print_what_the_guide_says(capsys):
    for text in (text for kind, text in BLOCKS if kind == "console"):
        command, _, expected = text.removeprefix("$ ").partition("\n")
        run(shlex.split(command)[1:])
        assert capsys.readouterr().out == expected


def test_every_loss_is_named():
    assert all(f"`{name}`" in GUIDE for name in get_args(LossName))
