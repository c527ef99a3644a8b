from __future__ import annotations

from pathlib import Path

import pytest

from mmrl.config.dump import dump_run


@pytest.fixture
def started(load, project: Path):
    """Start a run: write its resolved configuration."""

    def started(*arguments: str) -> Path:
        run = load(*arguments).run
        run.out.mkdir(parents=True)
        (run.out / "config.yaml").write_text(dump_run(run))
        return run.out

    return started


def test_a_run_goes_on_with_its_own_configuration(load, started, write):
    out = started("curriculum=toy", "optim.lr=1e-5", "seed=3")
    before = load("curriculum=toy", "optim.lr=1e-5", "seed=3", f"out={out}").run
    write("curriculum/toy.yaml", "stages: {changed: {stage: toy/sft}}")
    loaded = load(f"resume={out}")
    assert (loaded.run, loaded.resume) == (before, str(out))
    assert loaded.provenance["stages.sft.optim.lr"] == f"{out}/config.yaml"


def test_auto_starts_a_run_and_later_goes_on_in_the_newest(load, started):
    arguments = ("curriculum=toy", "resume=auto")
    assert load(*arguments).resume is None
    started("curriculum=toy")
    newest = started("curriculum=toy")
    loaded = load(*arguments)
    assert (loaded.resume, loaded.run.out) == (str(newest), newest)
    assert newest == Path("runs/toy/002")


def test_auto_looks_into_the_folder_that_is_named(load, started):
    started("curriculum=toy")
    assert load("curriculum=toy", "resume=auto", "out=x").resume is None
    started("curriculum=toy", "out=x")
    assert load("curriculum=toy", "resume=auto", "out=x").resume == "x"


def test_a_number_that_was_taken_without_a_start_is_not_gone_on_with(load, started, project: Path):
    first = started("curriculum=toy")
    (project / "runs/toy/002").mkdir()
    loaded = load("curriculum=toy", "resume=auto")
    assert loaded.resume == str(first)
    assert load("curriculum=toy").run.out == Path("runs/toy/003")


def test_a_run_is_not_gone_on_with_under_another_configuration(mistakes, started):
    out = started("curriculum=toy")
    lines = [
        f"stages.sft.optim.lr: 0.001 in {out}/config.yaml, 0.5 now",
        f"resume={out}: was started with another configuration; out=DIR starts a new run",
    ]
    assert mistakes("curriculum=toy", "stages.sft.optim.lr=0.5", "resume=auto") == lines
    assert mistakes("curriculum=toy", "stages.sft.optim.lr=0.5", f"resume={out}") == lines


def test_resume_refuses_what_it_cannot_do(mistakes, started):
    out = started("curriculum=toy")
    assert mistakes("resume=nowhere") == [
        "resume=nowhere: there is no nowhere/config.yaml, so no run was started there"
    ]
    assert mistakes("curriculum=toy", "resume=nowhere") == [
        "resume=nowhere: there is no nowhere/config.yaml, so no run was started there"
    ]
    assert mistakes(f"resume={out}", "optim.lr=1") == [
        f"optim.lr: cannot be changed: resume={out} goes on with {out}/config.yaml"
    ]
    assert mistakes("resume=auto") == [
        "resume=auto: give stage= or curriculum= as well, or resume=RUN with a run folder"
    ]
    assert mistakes("curriculum=toy", f"resume={out}", "out=elsewhere") == [
        f"out=elsewhere: a resumed run goes on in its own folder, {out}"
    ]
