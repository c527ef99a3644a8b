"""docs/data.md is true: its commands run, in their order, and its formats are those that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from mmrl.cli import run
from mmrl.data.format import describe_formats

GUIDE = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_commands_of_the_guide_run_in_their_order(tmp_path, monkeypatch, capfd):
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert len(commands) > 10
    monkeypatch.chdir(tmp_path)
    for program, *arguments in commands:
        assert program == "mmrl"
        assert run(arguments) == 0, (arguments, capfd.readouterr().err)
    first = (tmp_path / "toy" / "rows.jsonl").read_text(encoding="utf-8")
    assert first.count("\n") == 100


def test_the_guide_names_every_format():
    table = GUIDE.read_text(encoding="utf-8").partition("| format |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`([a-z0-9_]+)`", "\n".join(re.findall(r"^\| (.*?) \|", table, re.M))))
    assert named == {found.name for found in describe_formats()}
