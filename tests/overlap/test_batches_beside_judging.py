"""What is judged beside sampling is what would have been judged after it, and what goes wrong there
is heard here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import psutil
import pytest

import mmrl.ahead
import mmrl.engines.hf
from mmrl.config.schema import RewardsConfig
from mmrl.errors import RewardError
from mmrl.registry import load_file
from mmrl.reward import verifier
from mmrl.rubric import Rubric
from mmrl.types import Row, Sample, VerifierTerm
from mmrl.update import Optimizer

PATIENCE_S = 30.0
deeds: dict[str, Callable[[Sample], float]] = {}
"""What the verifier `overlapping` does, by test."""


@verifier
def overlapping(*, deed: str):
    """Do what the test wants."""
    return lambda sample: deeds[deed](sample)


DAWDLING = """
import time

from mmrl.reward import verifier


@verifier(isolated=True)
def dawdling():
    \"\"\"Right at once at first, and then after minutes.\"\"\"

    def judge(sample):
        time.sleep(600 if sample.progress else 0)
        return 1.0

    return judge
"""


@pytest.fixture(scope="module", autouse=True)
def _dawdling(tmp_path_factory):
    """A verifier that takes ten minutes, but for the first step of a stage; its file is not this
    one, so that the processes which judge by it need not load torch."""
    file = tmp_path_factory.mktemp("rewards") / "dawdling.py"
    file.write_text(DAWDLING)
    load_file(file)


def term(deed: str) -> str:
    return f"rewards.terms.overlapping={{name: overlapping, params: {{deed: {deed}}}, weight: 0}}"


def threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("judging", "sampling"))]


def before(patch: pytest.MonkeyPatch, owner: Any, name: str, act: Callable[[int], object]) -> None:
    """Do something before every call of a function, which hears the call's number."""
    original, calls = getattr(owner, name), 0

    def acting(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        act(calls)
        return original(*arguments, **keywords)

    patch.setattr(owner, name, acting)


@pytest.mark.parametrize(
    ("size", "stage", "changes"),
    [
        (
            3,
            "words",
            ["filter.kind=band", "filter.low=0.2", "filter.high=0.6", "filter.max_draws=3"],
        ),
        (1, "shown", ["contrast={group_size: 2}", "rewards.terms.t={name: temporal_contrast}"]),
    ],
)
def test_batches_change_nothing(go, steps, size, stage, changes):
    whole = go(*changes, "optim.steps=3", stage=stage)
    parts = go(*changes, "optim.steps=3", f"rollout.prompts_per_batch={size}", stage=stage)
    assert (whole / "rollouts.jsonl").read_bytes() == (parts / "rollouts.jsonl").read_bytes()
    weights = f"checkpoints/{stage}-000003-final/model.safetensors"
    assert (whole / weights).read_bytes() == (parts / weights).read_bytes()
    for one, other in zip(steps(whole), steps(parts), strict=True):
        # log-probs of a sampler differ in their last bits with what is decoded beside them
        gaps = one.pop("policy/sampling_gap", 0.0), other.pop("policy/sampling_gap", 0.0)
        assert max(gaps) < 1e-5
        assert one == other
    assert any(line.get("optim/grad_norm") for line in steps(whole))


def test_a_batch_is_judged_while_the_next_is_sampled(go, monkeypatch):
    meeting, met = threading.Barrier(2, timeout=PATIENCE_S), []

    def judge(sample: Sample) -> float:
        if not met:
            met.append(threading.current_thread().name)
            meeting.wait()
        return 1.0

    monkeypatch.setitem(deeds, "meet", judge)
    before(
        monkeypatch, mmrl.engines.hf, "sample", lambda call: meeting.wait() if call == 2 else None
    )
    go("optim.steps=1", "rollout.prompts_per_batch=2", term("meet"))
    assert met[0].startswith("judging")
    assert not threads()


def test_the_next_step_is_judged_while_this_one_makes_its_update(go, monkeypatch):
    meeting, met = threading.Barrier(2, timeout=PATIENCE_S), []

    def judge(sample: Sample) -> float:
        if sample.progress == 0.5 and not met:
            met.append(sample.progress)
            meeting.wait()
        return 1.0

    monkeypatch.setitem(deeds, "meet", judge)
    before(monkeypatch, Optimizer, "step", lambda call: meeting.wait() if call == 1 else None)
    go("optim.steps=2", "rollout.async_steps=1", term("meet"))
    assert met == [0.5]


@pytest.mark.parametrize(
    ("key", "logged"), [("rollout.prompts_per_batch=1", 0), ("rollout.async_steps=1", 1)]
)
def test_what_goes_wrong_beside_is_raised_here_and_the_threads_are_gone(
    go, monkeypatch, tmp_path, key, logged
):
    def fail(call: int) -> None:
        if call == 2:
            raise RewardError(f"in {threading.current_thread().name}")

    before(monkeypatch, mmrl.ahead, "judge", fail)
    with pytest.raises(RewardError, match="in judging"):
        go("optim.steps=2", key, out=tmp_path / "run")
    assert not threads()
    metrics = tmp_path / "run" / "metrics.jsonl"
    assert (len(metrics.read_text().splitlines()) if metrics.exists() else 0) == logged


def test_an_interrupt_ends_a_judgement_that_would_take_minutes(go, monkeypatch):
    def interrupt(call: int) -> None:
        time.sleep(0.3)  # the judgement has begun by now, or it never will
        raise KeyboardInterrupt

    before(monkeypatch, Optimizer, "step", interrupt)
    slow = ["rewards.terms.slow={name: dawdling}", "rewards.timeout_s=300"]
    others = _workers()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        go("optim.steps=3", "rollout.async_steps=1", *slow)
    assert time.monotonic() - began < PATIENCE_S
    assert not threads()
    assert not _workers() - others


def test_an_interrupt_leaves_a_verifier_behind_that_never_returns(go, monkeypatch):
    let_go = threading.Event()

    def judge(sample: Sample) -> float:
        if sample.progress:
            let_go.wait()
        return 1.0

    def interrupt(call: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(deeds, "never", judge)
    monkeypatch.setattr(mmrl.ahead, "PATIENCE_S", 0.2)
    before(monkeypatch, Optimizer, "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        go("optim.steps=3", "rollout.async_steps=1", term("never"))
    # Python does not wait for it when it ends
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "judging"] == [True]
    let_go.set()


def _workers() -> set[psutil.Process]:
    """Those that judge for this process, for other tests too."""
    return {
        child
        for child in psutil.Process().children(recursive=True)
        if "mmrl.judging.isolation_worker" in child.cmdline()
    }


def test_a_cancelled_judgement_ends_at_once_and_no_other_begins():
    config = RewardsConfig(
        terms={"accuracy": {"weight": 1.0}},  # pyright: ignore[reportArgumentType]
        timeout_s=300,
    )
    row = Row(id="r", source="s", prompt=[], answer="1", verifier=(VerifierTerm(name="dawdling"),))
    others = _workers()
    with Rubric(config, [row]) as rubric:
        raised: list[BaseException] = []

        def judge() -> None:
            try:
                rubric.judge([[Sample(row=row, text="1", progress=0.5)] * 3])
            except CancelledError as error:
                raised.append(error)

        thread = threading.Thread(target=judge)
        thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while not _workers() - others:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        rubric.cancel()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert raised
        with pytest.raises(CancelledError):
            rubric.judge([[Sample(row=row, text="1")]])
    assert not _workers() - others
