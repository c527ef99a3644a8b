"""Two processes over gloo are one: the same rollouts, losses and gradients, whatever media each of
them has, whatever is frozen, and however many groups, passes and draws it has of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.distributed

EXACT = ("completion/length", "reward/mean", "media/decoded", "tokens", "completion/count")
STRATEGIES = ["ddp", "zero2", "zero3", "fsdp2"]


def _metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _clocks(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "timings.jsonl").read_text().splitlines()]


def _same(one: Path, other: Path) -> None:
    """Every number of every step, those of sampling exactly, gradients within 1e-4."""
    for ours, theirs in zip(_metrics(one), _metrics(other), strict=True):
        assert ours.keys() == theirs.keys()
        for key in ours:
            where = f"{ours['stage']}, step {ours['step']}, {key}"
            if key in EXACT or isinstance(ours[key], str):
                assert ours[key] == theirs[key], where
            else:
                assert theirs[key] == pytest.approx(ours[key], rel=1e-4, abs=1e-6), where
    lines = [(run / "rollouts.jsonl").read_text().splitlines() for run in (one, other)]
    for ours, theirs in zip(*(map(json.loads, run) for run in lines), strict=True):
        # entropies are stretched from their least to their most, so that advantages by them differ
        assert theirs.pop("advantage") == pytest.approx(ours.pop("advantage"), abs=1e-3)
        assert ours == theirs


def _same_moments(one: Path, other: Path) -> None:
    """What the optimizers go on with, whole and by name; of what never moved, nothing or zeros."""
    from safetensors.torch import load_file

    for saved in sorted(one.glob("checkpoints/*-final/optimizer.safetensors")):
        ours, theirs = load_file(saved), load_file(other / saved.relative_to(one))
        assert ours.keys() <= theirs.keys()
        for name, moment in theirs.items():
            if name in ours and not name.endswith(":step"):
                most = float(ours[name].abs().max())
                assert float((moment - ours[name]).abs().max()) <= 1e-2 * most + 1e-7, name
            elif name not in ours:
                assert name.endswith(":step") or not moment.any(), name


def _same_reference(run: Path) -> None:
    """A reference that has just moved is the policy."""
    from safetensors.torch import load_file

    [final] = run.glob("checkpoints/frozen-*-final")
    weights = load_file(final / "model.safetensors")
    reference = load_file(final / "reference.safetensors")
    assert reference
    for name, tensor in reference.items():
        assert tensor.equal(weights[name]), name


@pytest.fixture(scope="module")
def every(train) -> Path:
    """All stages in one process."""
    return train("curriculum=every")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_with_different_media_and_groups_are_one(train, every, two, strategy):
    run = train("curriculum=every", *two(strategy))
    _same(every, run)
    _same_moments(every, run)
    _same_reference(run)
    norms = [line["optim/grad_norm"] for line in _metrics(run) if "optim/grad_norm" in line]
    assert sum(norm > 0 for norm in norms) > 10


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_everything_may_learn(alone, unbroken, strategy):
    run = unbroken(strategy)
    _same(alone, run)
    steps = [line for line in _clocks(run) if "idle_frac" in line]
    assert len(steps) == 3
    assert all(0 <= line["idle_frac"] <= 1 and line["rank1/sample_s"] > 0 for line in steps)


AHEAD = ["stage=free", "rollout.async_steps=1", "checkpoint.every=3", "optim.steps=4"]


@pytest.fixture(scope="module")
def ahead(train) -> Path:
    """The stage `free` in one process that samples a step ahead."""
    return train(*AHEAD)


@pytest.mark.parametrize("strategy", ["ddp", "zero3"])
def test_two_processes_that_sample_and_decode_ahead_are_one(train, ahead, two, strategy):
    keys = ["rollout.prompts_per_batch=4", "media.workers=1", "media.cache_mb=0"]
    run = train(*AHEAD, *keys, *two(strategy))
    _same(ahead, run)
    assert [line.get("policy/steps_behind") for line in _metrics(run)[1:-1]] == [0, 1, 1, 0]
    assert any(line.get("media_ahead", 0) > 0 for line in _clocks(run))


def test_processes_that_others_have_started_are_taken_as_they_are(
    project, train, two, unbroken, tmp_path
):
    """By accelerate with the files that a launch would write, and by torchrun."""
    import sys

    from mmrl.config.loader import load_run
    from mmrl.distributed.plan import launch_files

    arguments = ["stage=free", *two("ddp")]
    planned = load_run([*arguments, f"out={tmp_path}"], project).run
    for name, text in launch_files(planned, tmp_path, project).items():
        (tmp_path / name).write_text(text)
    config = str(tmp_path / "accelerate-node0.yaml")
    launchers = (
        ("accelerate.commands.launch", "--config_file", config, "-m"),
        ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"),
    )
    for launcher in launchers:
        run = train(*arguments, by=(sys.executable, "-m", *launcher))
        for name in ("metrics.jsonl", "rollouts.jsonl"):
            assert (run / name).read_bytes() == (unbroken("ddp") / name).read_bytes()
