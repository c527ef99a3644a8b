"""Stages that train by the newer objectives: what they write down, and what a resumed run knows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import mmrl.trainer
from mmrl.config.loader import load_run
from mmrl.curriculum.runner import train
from mmrl.screen import Screen

STAGE = """
kind: grpo
model: {family: qwen2_5_vl, tiny: qwen2_5_vl, device: cpu, threads: 1}
data: {train: {toy: {path: %(rows)s}}, heldout: {toy: {path: %(rows)s}}}
eval: {limit: 1}
optim: {steps: 4, lr: 3.0e-3}
rollout: {prompts_per_step: 2, group_size: 4, max_new_tokens: 8}
rewards: {terms: {accuracy: {}, near: {name: text, params: {
  metric: anls, anls_threshold: 1.0, whole_text: true}}}}
checkpoint: {every: 1, keep: 9}
"""


class Killed(BaseException):
    """What the process dies of, as far as the code inside it can tell."""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    rows = [
        {
            "id": f"r{place}",
            "source": "toy",
            "prompt": [{"role": "user", "content": f"how many? {place}"}],
            "answer": "the red square moves left",
            "verifier": "exact",
            "response": f"<answer>{place}</answer>",
        }
        for place in range(4)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "configs" / "stage").mkdir(parents=True)
    (folder / "configs" / "stage" / "toy.yaml").write_text(STAGE % {"rows": folder / "rows.jsonl"})
    return folder


@pytest.fixture
def go(project, tmp_path) -> Callable[..., Path]:
    def go(*arguments: str, out: str = "run") -> Path:
        screen = Screen(console=Console(file=io.StringIO()))
        arguments = ("stage=toy", *arguments, f"out={tmp_path / out}")
        return train(load_run(list(arguments), project), screen)

    return go


def _steps(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "policy/loss" in line]


ADAPT = (
    "algo.imitation.weight=0.3",
    "algo.imitation.adapt.gain_every=2",
    "algo.imitation.adapt.entropy_rate=0.5",
)
RESET = ("algo.kl_weight=0.5", "algo.reference_reset.every=2")


def test_the_reference_goes_where_the_policy_is_and_a_killed_run_knows_where(
    go, monkeypatch, tmp_path
):
    whole = go(*RESET, *ADAPT)
    divergences = [step["policy/kl"] for step in _steps(whole)]
    # on-policy, step 1 and the step after the reset compare the policy with itself
    assert divergences[0] == pytest.approx(0, abs=1e-6)
    assert divergences[2] == pytest.approx(0, abs=1e-6)
    assert min(divergences[1], divergences[3]) > 1e-5
    weights = [step["imitation/weight"] for step in _steps(whole)]
    assert weights[0] == 0.3
    assert len(set(weights)) > 2
    assert ["imitation/gain" in step for step in _steps(whole)] == [True, False, True, False]
    with monkeypatch.context() as patch:
        _die_after_saving(patch, 3)
        with pytest.raises(Killed):
            go(*RESET, *ADAPT, out="killed")
    go(*RESET, *ADAPT, "resume=auto", out="killed")
    killed = tmp_path / "killed"
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("algo.empg.clarity_weight=0.1",), ("empg/lines", "empg/entropy_max")),
        (("algo.loss=rover", "algo.advantage=dr_grpo", "algo.minibatches=2"), ()),
        (
            ("algo.high_entropy_share=0.25", "algo.entropy_weight=0.01"),
            ("policy/uncertain_tokens",),
        ),
    ],
)
def test_a_stage_trains_by_it(go, arguments, names):
    steps = _steps(go(*arguments, "optim.steps=2"))
    assert len(steps) == 2
    for step in steps:
        assert step["optim/grad_norm"] > 0
        assert all(name in step for name in names)
    if "policy/uncertain_tokens" in names:
        assert steps[0]["policy/uncertain_tokens"] == pytest.approx(
            0.25 * steps[0]["policy/taught_tokens"], abs=1
        )


def test_wrong_completions_are_all_that_nsr_learns_from(go):
    run = go("algo.advantage=nsr", "optim.steps=1")
    lines = [json.loads(line) for line in (run / "rollouts.jsonl").read_text().splitlines()]
    assert all(line["parts"]["accuracy"] == 0 for line in lines)
    assert {line["advantage"] for line in lines} == {-1.0}
    assert _steps(run)[0]["optim/grad_norm"] > 0


def _die_after_saving(patch: pytest.MonkeyPatch, step: int) -> None:
    save = mmrl.trainer.save

    def dying(run, **options):
        save(run, **options)
        if run.step == step:
            raise Killed

    patch.setattr(mmrl.trainer, "save", dying)
