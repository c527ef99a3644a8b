from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmrl.commands.doctor import doctor
from mmrl.doctor import findings

ROOT = Path(__file__).resolve().parents[2]


def test_doctor_tries_what_the_cpu_path_needs():
    found = {
        finding.name: finding for finding in findings() if finding.about in ("library", "decoder")
    }
    assert set(found) == {
        *("torch", "torchvision", "transformers"),
        *("pillow", "pyav", "decord", "soundfile", "soxr"),
    }
    assert all(finding.ok for finding in found.values())


def test_doctor_says_what_is_broken_and_ends_with_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    done = CliRunner().invoke(doctor, ["--json"])
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert not report["ok"]
    (broken,) = [one for one in report["findings"] if one["required"] and not one["ok"]]
    assert (broken["about"], broken["name"]) == ("decoder", "decord")
    assert broken["fix"] == "pip install --force-reinstall decord"
    text = CliRunner().invoke(doctor, []).stdout.splitlines()
    assert text[-1] == "training cannot start: decord"


def test_every_extra_says_what_it_is_for_or_how_to_get_it():
    extras = [finding for finding in findings() if finding.about == "extra"]
    if not extras:
        pytest.skip("mmrl is not installed")
    assert all(finding.ok != bool(finding.fix) for finding in extras)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {finding.name for finding in extras} == {*declared["optional-dependencies"]}
