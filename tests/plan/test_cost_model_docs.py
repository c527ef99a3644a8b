"""The commands of docs/cost_model.md run, and its tables say what they print."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from mmrl.cli import run

PAGE = (Path(__file__).parents[2] / "docs" / "cost_model.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines()
]


def test_there_are_commands():
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_runs(command, capsys):
    _, *words = shlex.split(command)
    extra = ["--gpu", "h100"] if "quickstart" in command else []

    assert run([*words, *extra]) == 0
    assert capsys.readouterr().out


def test_the_published_step_is_predicted_as_the_page_says(capsys):
    _, *words = shlex.split(COMMANDS[-1])
    run([*words, "--json"])
    (plan,) = json.loads(capsys.readouterr().out).values()

    assert f"| 3B | 1 | 120 | {plan['step_s']:.0f} | {plan['step_s'] / 120:.2f} |" in PAGE
