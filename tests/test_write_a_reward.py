"""docs/write_a_reward.md is true: its files work in a project, its commands print what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from mmrl.cli import run
from mmrl.config.schema import RewardsConfig

GUIDE = Path(__file__).parents[1] / "docs" / "write_a_reward.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


def blocks(kind: str) -> list[str]:
    return [text for found, text in BLOCKS if found == kind]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with the guide's files in rewards/, and nothing else edited."""
    (tmp_path / "configs" / "stage").mkdir(parents=True)
    (tmp_path / "rewards").mkdir()
    for text in blocks("python"):
        name = re.match(r"# (rewards/\w+\.py)\n", text)
        assert name is not None, text[:60]
        (tmp_path / name[1]).write_text(text)
    (tmp_path / "examples.jsonl").write_text(blocks("json")[-1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMRL_PROJECT", str(tmp_path))
    return tmp_path


def test_every_command_prints_what_the_guide_says(project, capsys):
    commands = [part for text in blocks("console") for part in re.split(r"^\$ ", text, flags=re.M)]
    commands = [part for part in commands if part]
    assert len(commands) >= 6
    for part in commands:
        command, _, expected = part.partition("\n")
        words = shlex.split(command)
        assert words[0] == "mmrl"
        run(words[1:])
        captured = capsys.readouterr()
        assert captured.out + captured.err == expected, command


def test_the_stage_of_the_guide_is_valid_and_its_terms_exist(project):
    from mmrl.rubric import Rubric

    (text,) = blocks("yaml")
    Rubric(RewardsConfig.model_validate(yaml.safe_load(text)["rewards"])).close()


def test_a_second_reward_of_the_same_name_names_both_files(project, capsys):
    (project / "rewards" / "other.py").write_text((project / "rewards" / "brief.py").read_text())
    assert run(["rewards", "list"]) == 2
    message = capsys.readouterr().err
    assert "'brief' is defined twice" in message
    assert str(project / "rewards" / "brief.py") in message
    assert str(project / "rewards" / "other.py") in message
    assert message.count("\n") == 1
