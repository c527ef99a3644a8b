"""A step that begins ahead is sampled with the weights before the update of the one before, and the
loss corrects for that; runs end, are killed and go on to the same bytes.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import mmrl.ahead
import mmrl.curriculum.runner
import mmrl.trainer
from mmrl.config.schema import MediaConfig, ModelConfig, RolloutConfig
from mmrl.data.rows import load_rows
from mmrl.engines import hf
from mmrl.model import Policy, load_policy
from mmrl.policy import allowed_logprobs
from mmrl.prompt import Prompts
from mmrl.seeds import derive
from mmrl.update import Optimizer

AHEAD = "rollout.async_steps=1"
MODEL = ModelConfig(family="qwen2_5_omni", tiny="qwen2_5_omni", device="cpu", threads=1)


class Killed(BaseException):
    """What the process dies of, as far as the code inside it can tell."""


@pytest.fixture(scope="module")
def ahead(go) -> Path:
    """A run of three steps, the last two of which began ahead."""
    return go("optim.steps=3", AHEAD, "checkpoint.every=100")


@pytest.fixture(scope="module")
def weights(go) -> list[Policy]:
    """The policy before the first step, after it, and after two, by runs that ended there."""
    runs = [go(f"optim.steps={count}", AHEAD, "checkpoint.every=100") for count in (1, 2)]
    folders = [next((run / "checkpoints").glob("*-final")) for run in runs]
    seed = derive(0, "weights")
    return [load_policy(MODEL, seed=seed, weights=folder) for folder in (None, *folders)]


@pytest.fixture(scope="module")
def sampled(ahead, lines) -> list[dict]:
    return lines(ahead / "rollouts.jsonl")


def rows_of(project: Path) -> dict[str, Any]:
    return {row.id: row for row in load_rows(project / "words.jsonl")}


def sample_again(policy: Policy, project: Path, records: list[dict], step: int) -> list[Any]:
    """The completions of a step's questions by the given weights."""
    rows, names = rows_of(project), [record["row"] for record in records[::4]]
    prompts = Prompts(policy=policy, media=MediaConfig(video_fps=4))
    groups = hf.sample(
        policy,
        [prompts(rows[name]) for name in names],
        RolloutConfig(max_new_tokens=8),
        group_size=4,
        seed=derive(0, "words", step - 1, "sample"),
    )
    return [completion for group in groups for completion in group]


@pytest.mark.parametrize(("step", "behind"), [(1, 0), (2, 1), (3, 1)])
def test_completions_are_those_of_the_weights_before_the_last_update(
    project, weights, sampled, steps, ahead, step, behind
):
    records = [record for record in sampled if record["step"] == step]
    found = [record["completion"] for record in records]
    theirs = {
        before: [c.text for c in sample_again(weights[before], project, records, step)]
        for before in {step - 1, max(step - 2, 0)}
    }
    assert found == theirs[step - 1 - behind]
    if behind:
        assert found != theirs[step - 1]
    assert [line["policy/steps_behind"] for line in steps(ahead)] == [0, 1, 1]


def test_the_importance_weights_are_those_of_a_naive_loop(project, weights, sampled, steps, ahead):
    records = [record for record in sampled if record["step"] == 3]
    completions = sample_again(weights[1], project, records, 3)
    rows, prompts = rows_of(project), Prompts(policy=weights[2], media=MediaConfig(video_fps=4))
    ratios, gaps = [], []
    for record, completion in zip(records, completions, strict=True):
        if not record["advantage"]:
            continue
        prompt = prompts(rows[record["row"]])
        for place, token in enumerate(completion.ids):
            ids = torch.tensor([[*prompt.ids, *completion.ids[:place]]])
            axes = torch.arange(ids.shape[1]).expand(3, 1, -1)
            with torch.no_grad():
                logits_BV = weights[2].model.eval()(input_ids=ids, position_ids=axes).logits[:, -1]
            now = allowed_logprobs(logits_BV, weights[2].banned_ids, temperature=1.0)[0, token]
            gaps.append(now.item() - completion.logprobs[place])
            ratios.append(min(torch.tensor(gaps[-1]).exp().item(), 3.0))
    line = steps(ahead)[2]
    assert len(ratios) == line["policy/taught_tokens"] > 0
    assert line["policy/importance"] == pytest.approx(sum(ratios) / len(ratios), abs=1e-5)
    assert line["policy/sampling_gap"] == pytest.approx(max(map(abs, gaps)), abs=1e-5)
    assert line["policy/sampling_gap"] > 1e-3
    assert steps(ahead)[0]["policy/sampling_gap"] < 1e-5


def test_without_the_correction_the_update_is_another(go, ahead):
    """What the metrics say of the weights has reached the gradient."""
    other = go("optim.steps=3", AHEAD, "checkpoint.every=100", "algo.importance.cap=1")
    names = [next((run / "checkpoints").glob("*-final")) for run in (ahead, other)]
    one, two = ((name / "model.safetensors").read_bytes() for name in names)
    assert one != two


@pytest.mark.parametrize(
    ("every", "behind"), [(2, [0, 1, 0, 1, 0]), (3, [0, 1, 1, 0, 1]), (9, [0, 1, 1, 1, 1])]
)
def test_nothing_is_under_way_at_a_checkpoint(go, steps, every, behind):
    run = go(AHEAD, f"checkpoint.every={every}")
    assert [line["policy/steps_behind"] for line in steps(run)] == behind


def test_a_stage_that_a_rule_ends_counts_nothing_that_has_begun(go, lines, steps):
    run = go(AHEAD, "checkpoint.every=9", "stop.tokens=200")
    assert [line.get("stop/tokens") for line in steps(run)] == [None, 1.0]
    rollouts = lines(run / "rollouts.jsonl")
    assert {record["step"] for record in rollouts} == {1, 2}
    assert steps(run)[-1]["tokens"] == sum(record["length"] for record in rollouts)
    assert not [t for t in threading.enumerate() if t.name.startswith("judging")]


def test_rows_that_run_out_end_the_stage_where_they_would_have(go, lines):
    mixture = ["mixture.kind=fixed", "mixture.weights={toy: 1}", "mixture.exhausted=stop"]
    runs = [go(*mixture, "rollout.prompts_per_step=2", key) for key in (AHEAD, "seed=0")]
    found = [[record["row"] for record in lines(run / "rollouts.jsonl")] for run in runs]
    assert found[0] == found[1]
    assert len(set(found[0])) == 6


FILTER = ["filter.kind=band", "filter.low=0.2", "filter.high=0.6", "filter.max_draws=3"]


@pytest.fixture(scope="module")
def unbroken(go) -> Path:
    """A run in which groups are drawn again, and checkpoints stand amid epochs."""
    return go(AHEAD, *FILTER)


def test_groups_that_are_missing_are_drawn_when_the_step_has_come(unbroken, steps):
    lines = steps(unbroken)
    assert [line["policy/steps_behind"] for line in lines] == [0, 1, 1, 0, 1]
    assert any(line["filter/draws"] > 1 for line in lines if line["policy/steps_behind"])


@pytest.mark.parametrize(
    ("module", "name", "count"),
    [
        (mmrl.ahead, "judge", 3),
        (mmrl.trainer, "mean_metrics", 2),
        (mmrl.trainer, "end_step", 4),
    ],
)
def test_a_killed_run_goes_on_to_the_same_bytes(
    go, unbroken, project, tmp_path, monkeypatch, module, name, count
):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        _die_after(patch, module, name, count)
        with pytest.raises(Killed):
            go(AHEAD, *FILTER, out=out)
    go(AHEAD, *FILTER, "resume=auto", out=out)
    final = Path("checkpoints") / "words-000005-final"
    for file in (
        "metrics.jsonl",
        "rollouts.jsonl",
        final / "model.safetensors",
        final / "optimizer.safetensors",
        final / "state.json",
    ):
        assert (out / file).read_bytes() == (unbroken / file).read_bytes(), file


def _die_after(patch: pytest.MonkeyPatch, module: Any, name: str, count: int) -> None:
    original, calls = getattr(module, name), 0

    def dying(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        found = original(*arguments, **keywords)
        if calls == count:
            raise Killed
        return found

    patch.setattr(module, name, dying)


class Elsewhere(contextlib.AbstractContextManager["Elsewhere"]):
    """An engine with weights of its own, as a server has them."""

    elsewhere = True

    def __init__(self, policy: Policy) -> None:
        self.policy, self.own = policy, policy
        self.sampling = threading.Lock()
        self.threads: list[str] = []
        self.meeting = threading.Barrier(2, timeout=30)

    def sample(self, *arguments: Any, **keywords: Any) -> Any:
        with self.sampling:
            self.threads.append(threading.current_thread().name)
            if len(self.threads) == 2:
                self.meeting.wait()
            return hf.sample(self.own, *arguments, **keywords)

    def sync(self) -> None:
        assert self.sampling.acquire(blocking=False)
        self.own = dataclasses.replace(self.policy, model=copy.deepcopy(self.policy.model))
        self.sampling.release()

    def __exit__(self, *error: object) -> None:
        """Nothing has to be closed."""


def test_an_engine_elsewhere_samples_while_the_update_runs_and_then_has_its_weights(
    go, ahead, monkeypatch
):
    engines = []

    def build(policy: Policy, config: object) -> Elsewhere:
        engines.append(Elsewhere(policy))
        return engines[-1]

    original, calls = Optimizer.step, 0

    def stepping(*arguments: Any) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 1:
            engines[0].meeting.wait()
        return original(*arguments)

    monkeypatch.setattr(mmrl.curriculum.runner, "build_engine", build)
    monkeypatch.setattr(Optimizer, "step", stepping)
    run = go("optim.steps=3", AHEAD, "checkpoint.every=100")
    for file in ("metrics.jsonl", "rollouts.jsonl"):
        assert (run / file).read_bytes() == (ahead / file).read_bytes()
    assert len(engines[0].threads) == 3
    assert all(name.startswith("sampling") for name in engines[0].threads)
