"""Metrics reach the trackers that a stage asks for, counted over all stages."""

from __future__ import annotations

import pytest

from mmrl.config.loader import load_run
from mmrl.errors import ConfigError
from mmrl.project import find_project
from mmrl.trackers import Trackers

ARGUMENTS = ["curriculum=quickstart", "stages.sft.optim.steps=3", "stages.grpo.optim.steps=2"]


def run_with(*trackers: str):
    asked = f"stages.grpo.log.trackers=[{','.join(trackers)}]"
    return load_run([*ARGUMENTS, asked], find_project()).run


def test_tensorboard_hears_the_stage_that_asks_for_it_after_the_steps_of_the_others(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = run_with("tensorboard")
    trackers = Trackers(run, tmp_path)
    trackers.log("sft", 1, {"policy/loss": 2.0})
    trackers.log("grpo", 1, {"reward/mean": 0.25})
    trackers.log("grpo", 2, {"reward/mean": 0.5})
    trackers.close()
    found = events.EventAccumulator(str(tmp_path / "tensorboard" / "quickstart"))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("reward/mean")] == [(4, 0.25), (5, 0.5)]
    assert "policy/loss" not in found.Tags()["scalars"]


def test_a_tracker_that_is_not_installed_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    with pytest.raises(ConfigError, match=r"log.trackers: wandb is not installed; pip install"):
        Trackers(run_with("wandb"), tmp_path)


def test_without_trackers_nothing_is_written(tmp_path):
    trackers = Trackers(run_with(), tmp_path)
    trackers.log("sft", 1, {"policy/loss": 2.0})
    trackers.close()
    assert not list(tmp_path.iterdir())
