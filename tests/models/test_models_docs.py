"""The commands of docs/models.md run, and its tables say what the files and the models say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mmrl.checkup.subject import read_subject
from mmrl.cli import run
from mmrl.config.files import options
from mmrl.parts import FROZEN
from mmrl.plan.adapters import linear_layers, part_of
from mmrl.plan.checkpoints import dimensions_of
from mmrl.plan.media import show_image
from mmrl.plan.parameters import count_parameters
from mmrl.project import default_project

ROOT = default_project()
PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines()
]
NAMES = [name for name in options(ROOT, "model") if name != "tiny_omni"]


def table(header: str) -> dict[str, list[str]]:
    """The rows of a table by what stands in their first column."""
    lines = PAGE.partition(header)[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_runs(command, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    _, *words = shlex.split(command)
    assert run(words) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_what_the_files_say(name):
    billions, encoders, connected, space, tokens, licence = table("| `model=` |")[name]
    stage = read_subject([f"model={name}"], ROOT).stage
    sizes = dimensions_of(stage.model)
    total = count_parameters(sizes).all.total
    assert billions == f"{total / 1e9:.1f}"
    for preset, share in (("encoders", encoders), ("encoders+connector", connected)):
        learning = count_parameters(sizes, preset).learning.total
        assert share == f"{1 - learning / total:.0%}"
    assert space == (stage.model.coordinates or "")
    if sizes.vision is not None:
        largest = show_image(sizes, stage.media, width=4000, height=3000)
        assert tokens == f"{largest.tokens:,}"
    header = (ROOT / "configs" / "model" / f"{name}.yaml").read_text()
    said = {"Apache 2.0": "Apache 2.0", "Qwen's own": "own", "research only": "not for commercial"}
    assert said[licence] in header


def test_every_file_stands_in_the_table():
    assert sorted(table("| `model=` |")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_layers_of_adapters_are_those_of_the_family(name):
    model = read_subject([f"model={name}"], ROOT).stage.model
    cells = table("| family | language |")[model.family]
    named = [set(re.findall(r"`(.+?)`", cell)) for cell in cells]
    found: list[set[str]] = [set(), set(), set()]
    for layer in linear_layers(dimensions_of(model)):
        part = part_of(layer)
        place = {"language": 0, "connector": 2}.get(part, 1)
        plain = re.sub(r"^(model\.|visual\.)+", "", re.sub(r"_list\.\d+", "_list.*", layer))
        found[place].add(plain if place == 2 else layer.rpartition(".")[2])
    assert found == named


def test_every_preset_of_freezing_is_named():
    presets = PAGE.partition("| | `model.freeze`")[2].partition("\n\n")[0]
    assert all(f"`{name}`" in presets for name in FROZEN if name != "none")
