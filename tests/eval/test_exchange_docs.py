"""The commands of the guides to comparing and to other kits are run as a reader would type them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mmrl.cli import run

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ("compare_evaluations.md", "evaluate_with_lmms_eval.md")
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for guide in GUIDES
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / guide).read_text(), re.DOTALL)
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
def test_the_commands_of_the_guides_work(words, reader, monkeypatch, capsys):
    monkeypatch.chdir(reader)
    assert run(["--project", str(ROOT), *words]) == 0, capsys.readouterr().err


def test_the_guide_names_every_kind_of_hit():
    from mmrl.evals.contamination import ANY, BOTH, KINDS

    text = (ROOT / "docs" / "compare_evaluations.md").read_text()
    for kind in (*KINDS, BOTH, ANY):
        assert f"| `{kind}` |" in text


@pytest.mark.parametrize("command", ["", "compare", "contamination", "view", "import", "run"])
def test_help_keeps_its_lines(command, capsys):
    assert run(["eval", *filter(None, [command]), "--help"]) == 0
    out = capsys.readouterr().out
    assert "\\b" not in out
