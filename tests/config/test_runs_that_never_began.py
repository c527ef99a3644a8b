"""A run that was stopped before its rows were loaded is resumed by beginning it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmrl.config.dump import dump_run
from mmrl.config.loader import load_run
from mmrl.config.runs import ASKED, RESOLVED, remember
from mmrl.errors import RunError

PROJECT = Path(__file__).resolve().parents[2]
ASK = ["curriculum=quickstart", "seed=3", "stages.grpo.optim.steps=7"]


@pytest.fixture
def out(tmp_path) -> Path:
    folder = tmp_path / "run"
    asked = load_run([*ASK, f"out={folder}"], PROJECT)
    remember(folder, dump_run(asked.run))
    return folder


def test_it_begins_with_what_was_asked(out):
    loaded = load_run([f"resume={out}"], PROJECT)
    assert loaded.resume is None
    assert loaded.run == load_run([*ASK, f"out={out}"], PROJECT).run


def test_it_begins_with_what_is_asked_now(out):
    loaded = load_run(["curriculum=quickstart", f"resume={out}"], PROJECT)
    assert (loaded.resume, loaded.run.seed, loaded.run.out) == (None, 0, out)


def test_a_folder_that_was_never_made_is_begun_where_it_is_named_twice(tmp_path):
    new = tmp_path / "new"
    assert load_run([*ASK, f"out={new}", f"resume={new}"], PROJECT).resume is None
    with pytest.raises(RunError, match="no run was started there"):
        load_run([*ASK, f"resume={new}"], PROJECT)


def test_what_has_begun_is_remembered_by_its_own_file_only(out):
    (out / RESOLVED).write_text((out / ASKED).read_text())
    (out / ASKED).unlink()
    remember(out, "something else")
    assert not (out / ASKED).exists()
    assert load_run([f"resume={out}"], PROJECT).resume == str(out)
