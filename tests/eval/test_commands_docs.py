"""The commands of docs/evaluate.md are run as a reader would type them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mmrl.cli import run

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "evaluate.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for block in BLOCKS
    for line in block.splitlines()
    if line.startswith("mmrl ")
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A folder in which the commands are typed one after the other."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "tests").symlink_to(ROOT / "tests")
    return folder


@pytest.mark.parametrize("words", COMMANDS, ids=[" ".join(words)[:40] for words in COMMANDS])
def test_the_commands_of_the_guide_work(words, reader, monkeypatch, capsys):
    monkeypatch.chdir(reader)
    assert run(["--project", str(ROOT), *words]) == 0, capsys.readouterr().err


def test_the_guide_names_every_status():
    from typing import get_args

    from mmrl.evals.benchmark import Status

    for status in get_args(Status):
        assert f"| `{status}` |" in TEXT
