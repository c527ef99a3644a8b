"""The commands of docs/cold_start.md are accepted as they stand."""

from __future__ import annotations

import shlex

import pytest

from mmrl.coldstart.loading import KINDS, load_chain
from mmrl.commands.data_select import load_selection
from mmrl.config.files import options
from mmrl.config.overrides import parse_overrides
from mmrl.project import default_project
from mmrl.selection.config import METHODS

ROOT = default_project()
TEXT = (ROOT / "docs" / "cold_start.md").read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in TEXT.splitlines() if line.startswith("    mmrl data ")]


def arguments(command: str, start: str) -> tuple[dict[str, str], list]:
    overrides = parse_overrides(shlex.split(command.removeprefix(start)))
    own = {one.key: one.text for one in overrides if one.key in ("in", "out", "chain", "method")}
    return own, [one for one in overrides if one.key not in own]


@pytest.mark.parametrize("command", [one for one in COMMANDS if "build cold_start" in one])
def test_every_chain_command_is_accepted(command):
    own, overrides = arguments(command, "mmrl data build cold_start ")
    assert {"in", "out", "chain"} <= set(own)
    assert load_chain(own["chain"], overrides, ROOT).steps


@pytest.mark.parametrize("command", [one for one in COMMANDS if "data select" in one])
def test_every_selection_command_is_accepted(command):
    own, overrides = arguments(command, "mmrl data select ")
    assert {"in", "out", "method"} <= set(own)
    assert load_selection(own["method"], overrides, ROOT)


def test_every_chain_step_and_method_is_told():
    chains = [name for name in options(ROOT, "cold_start") if not name.endswith("base")]
    told = TEXT.replace("`/", "`rl_with_cold_start/")
    assert [name for name in (*chains, *KINDS, *METHODS) if f"`{name}`" not in told] == []
