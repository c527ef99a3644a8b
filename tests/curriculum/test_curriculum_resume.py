"""A curriculum whose samplers remember, killed in its second stage of three, goes on to the same
bytes.
"""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

import mmrl.ahead
import mmrl.curriculum.select
import mmrl.trainer
from mmrl.checkpoint import RunState
from mmrl.config.loader import load_run
from mmrl.curriculum.runner import train
from mmrl.screen import Screen

ROOT = Path(__file__).resolve().parents[2]
REWARD = '''
"""Right by chance, so that groups of a model that knows nothing have spread."""
import hashlib
from mmrl.reward import verifier

@verifier
def chance(*, share: float = 0.5):
    """1.0 for the row's answer, and for a share of all other texts."""
    def judge(sample):
        if sample.answer == sample.row.answer:
            return 1.0
        digest = hashlib.blake2b(f"{sample.row.id} {sample.text}".encode()).digest()
        return float(digest[0] < 256 * share)
    return judge
'''
BASE = """
model: {family: qwen2_5_omni, tiny: qwen2_5_omni, device: cpu, threads: 1}
data: {train: {toy: {path: %s}}}
checkpoint: {every: 2}
rollout: {max_new_tokens: 6}
"""
FILES = {
    "stage/cold.yaml": """
kind: sft
sampling: {kind: easy_to_hard, levels: 2}
mixture: {kind: fixed, weights: {even: 1, odd: {0: 0, 0.5: 2}}}
optim: {steps: 3, lr: 1.0e-3, batch_size: 2}
""",
    "stage/warm.yaml": """
kind: grpo
sampling: {kind: window, low: {0: 0.3, 0.5: 0.1}, high: 0.9, memory: 0.0}
mixture: {kind: bandit, window: 8}
filter: {kind: spread, max_draws: 3}
weight: {kind: odsw_medium}
stop: {plateau: {steps: 4, min_gain: 5}}
rollout: {prompts_per_step: 3, group_size: 3}
optim: {steps: 30, lr: 1.0e-3}
""",
    "stage/hot.yaml": """
kind: grpo
sampling: {kind: value, candidates: 2}
rollout: {prompts_per_step: 2, group_size: 2}
optim: {steps: 3, lr: 1.0e-3}
""",
    "stage/pick.yaml": """
kind: select
select: {order: uncertain, limit: 5, response: shortest}
rollout: {prompts_per_step: 2, group_size: 4}
""",
    "stage/plain.yaml": """
kind: sft
start: base
data: {train: {toy: null, kept: {stage: pick}}}
optim: {steps: 2, lr: 1.0e-3, batch_size: 2}
""",
    "curriculum/three.yaml": "stages: {cold: {stage: cold}, warm: {stage: warm}, hot: {stage: hot}}",
    "curriculum/rounds.yaml": """
stages:
  rounds: {repeat: 2, stages: {pick: {stage: pick}, plain: {stage: plain}}}
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "rewards").mkdir()
    (folder / "rewards/chance.py").write_text(REWARD)
    lines = [
        {
            "id": f"r{place}",
            "source": ("even", "odd")[place % 2],
            "prompt": [{"role": "user", "content": f"what is {place}?"}],
            "answer": str(place),
            "verifier": {"name": "chance", "params": {"share": 0.15 * place}},
            "response": f"<answer>{place}</answer>",
            "difficulty": place / 7,
        }
        for place in range(7)
    ]
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, text in FILES.items():
        path = folder / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_with_base(text, rows) if name.startswith("stage") else text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMRL_PROJECT", str(folder))
        yield folder


def _with_base(text: str, rows: Path) -> str:
    """A stage's own sections over those that all stages share."""
    from mmrl.config.yaml12 import flow, parse

    base, own = parse(BASE % rows, "base"), parse(text, "own")
    merged = base | own
    for key in ("rollout", "data"):
        merged[key] = base.get(key, {}) | own.get(key, {})
    if "data" in own:
        merged["data"] = {"train": {k: v for k, v in own["data"]["train"].items() if v}}
    return flow(merged)


@pytest.fixture(scope="module")
def go(project: Path) -> Callable[..., Path]:
    """Train in this process."""

    def go(*arguments: str) -> Path:
        screen = Screen(console=Console(file=io.StringIO()))
        return train(load_run(arguments, project), screen)

    return go


@pytest.fixture(scope="module")
def unbroken(go, tmp_path_factory) -> Path:
    return go("curriculum=three", f"out={tmp_path_factory.mktemp('unbroken') / 'run'}")


def lines(run: Path, stage: str) -> list[dict[str, float]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["stage"] == stage]


def state(run: Path, checkpoint: str) -> RunState:
    return RunState(**json.loads((run / "checkpoints" / checkpoint / "state.json").read_text()))


def same(one: Path, other: Path) -> None:
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for folder in (one / "checkpoints").glob("*-final"):
        for file in (*folder.glob("*.safetensors"), folder / "state.json"):
            twin = other / "checkpoints" / folder.name / file.name
            assert file.read_bytes() == twin.read_bytes(), twin


def test_what_the_curriculum_moves_can_be_seen(unbroken):
    """What the tests below compare is not empty."""
    cold = lines(unbroken, "cold")
    assert [line["mixture/odd"] for line in cold] == pytest.approx([0, 0, 2 / 3])
    warm = lines(unbroken, "warm")
    assert len({line["mixture/even"] for line in warm}) > 3
    assert {line["sampler/low/even"] for line in warm} == {0.3}
    assert warm[-1]["sampler/known_frac/odd"] == 1.0
    assert all(line["filter/drawn"] >= line["filter/kept"] for line in warm)
    assert any(line["filter/draws"] > 1 for line in warm)
    assert any(line["weight/min"] < 1 for line in warm)
    hot = lines(unbroken, "hot")
    assert len({line["sampler/value"] for line in hot}) == 3


def test_a_plateau_ends_the_stage_and_the_next_one_begins(unbroken):
    warm = lines(unbroken, "warm")
    assert [line["step"] for line in warm] == [*range(1, 9)]
    assert "stop/plateau" in warm[-1]
    assert not any("stop/plateau" in line for line in warm[:-1])
    assert state(unbroken, "warm-000008-final").finished
    page = (unbroken / "report.html").read_text()
    assert "ended by plateau" in page
    assert "Not finished" not in page
    assert "What the curriculum moved" in page


def test_the_bandit_the_pass_rates_and_the_rules_are_in_the_checkpoint(unbroken):
    kept = state(unbroken, "warm-000008-final")
    assert kept.sampler["weights"]["counts"]["even"] > 0
    assert len(kept.sampler["samplers"]["even"]["rates"]) == 4
    assert len(kept.stop["values"]["plateau"]) == 8
    assert state(unbroken, "hot-000003-final").sampler["weights"]


class Killed(BaseException):
    """What the process dies of, as far as the code inside it can tell."""


def kill(go, out: Path, curriculum: str, module, name: str, count: int) -> None:
    """Go on in a run, or start it, and let it die after the `count`-th call of a function."""
    with pytest.MonkeyPatch.context() as patch:
        die(patch, module, name, count)
        with pytest.raises(Killed):
            go(f"curriculum={curriculum}", "resume=auto", f"out={out}")


def die(patch: pytest.MonkeyPatch, module, name: str, count: int) -> None:
    """Raise Killed after the `count`-th call of a function."""
    original, calls = getattr(module, name), 0

    def dying(*arguments, **keywords):
        nonlocal calls
        calls += 1
        found = original(*arguments, **keywords)
        if calls == count:
            raise Killed
        return found

    patch.setattr(module, name, dying)


def test_killed_amid_each_stage_it_goes_on_to_the_same_bytes(go, unbroken, tmp_path):
    out = tmp_path / "run"
    for module, name, count in (
        (mmrl.trainer, "update_from_responses", 3),
        (mmrl.ahead, "judge", 9),
        (mmrl.trainer, "end_step", 5),
        (mmrl.ahead, "judge", 2),
    ):
        kill(go, out, "three", module, name, count)
    go("curriculum=three", "resume=auto", f"out={out}")
    same(unbroken, out)


def test_sigkill_in_the_second_stage_of_three_loses_nothing(project, go, unbroken, tmp_path):
    out, said = tmp_path / "run", tmp_path / "said"
    command = [sys.executable, "-m", "mmrl", "--project", str(project), "train"]
    with said.open("wb") as file:
        child = subprocess.Popen(
            [*command, "curriculum=three", f"out={out}"], cwd=ROOT, stdout=file, stderr=file
        )
    metrics = out / "metrics.jsonl"
    try:
        deadline = time.monotonic() + 90
        while not (metrics.exists() and metrics.read_bytes().count(b'"warm"') >= 5):
            assert child.poll() is None, said.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (out / "report.json").exists()
    go("curriculum=three", "resume=auto", f"out={out}")
    same(unbroken, out)


@pytest.fixture(scope="module")
def selected(go, tmp_path_factory) -> Path:
    return go("curriculum=rounds", f"out={tmp_path_factory.mktemp('rounds') / 'run'}")


def test_a_selection_is_what_the_next_stage_learns_from(selected):
    for number in (1, 2):
        text = (selected / f"data/selected-pick_{number}.jsonl").read_text()
        kept = [json.loads(line) for line in text.splitlines()]
        rates = [abs(line["pass_rate"] - 0.5) for line in kept]
        assert rates == sorted(rates)
        assert 0 < len(kept) <= 5
        assert all(line["response"] for line in kept)
        last = lines(selected, f"pick_{number}")[-1]
        assert (last["select/pool"], last["select/kept"]) == (7, len(kept))
    assert [line["step"] for line in lines(selected, "plain_2")] == [1, 2]
    weights = sorted((selected / "checkpoints/pick_2-000004-final").iterdir())
    assert [file.name for file in weights] == ["manifest.json", "state.json"]


def test_a_selection_that_is_killed_goes_on(go, selected, tmp_path):
    out = tmp_path / "run"
    for name, count in (("_score", 3), ("choose", 1), ("write_selection", 2)):
        kill(go, out, "rounds", mmrl.curriculum.select, name, count)
    go("curriculum=rounds", "resume=auto", f"out={out}")
    same(selected, out)
    for number in (1, 2):
        name = f"data/selected-pick_{number}.jsonl"
        assert (out / name).read_bytes() == (selected / name).read_bytes()
