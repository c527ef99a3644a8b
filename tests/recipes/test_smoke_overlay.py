"""What lies above what in a smoke form."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmrl.config.loader import load_run
from mmrl.errors import ConfigError
from mmrl.project import default_project

STAGE = """
kind: {kind}
model: {{family: qwen2_5_vl, path: big}}
data: {{train: {{own: {{path: own.jsonl}}}}}}
{rest}
"""
SFT = STAGE.format(kind="sft", rest="optim: {steps: 100, batch_size: 64}")
GRPO = STAGE.format(
    kind="grpo",
    rest="optim: {steps: 100}\nrollout: {group_size: 16, max_new_tokens: 4096}\n"
    "rewards: {terms: {accuracy: {}, form: {name: think_answer}}}",
)


@pytest.fixture
def load(tmp_path: Path):
    """Load a curriculum of a cold start and RL, with this smoke section, from a project of its own."""
    stages = tmp_path / "configs" / "stage"
    stages.mkdir(parents=True)
    (stages / "sft.yaml").write_text(SFT)
    (stages / "grpo.yaml").write_text(GRPO)
    (tmp_path / "configs" / "curriculum").mkdir()

    def run(smoke: str, *arguments: str, stages: str = "  cold: {stage: sft}\n  rl: {stage: grpo}"):
        file = tmp_path / "configs" / "curriculum" / "mine.yaml"
        file.write_text(f"stages:\n{stages}\n{smoke}\n")
        return load_run(["curriculum=mine", "out=x", *arguments], tmp_path).run

    return run


def test_without_smoke_its_section_changes_nothing(load):
    plain = load("")
    assert load("smoke: {every: {optim: {steps: 3}}}") == plain
    assert plain.stages["rl"].optim.steps == 100
    assert not plain.smoke


def test_the_default_form_is_small(load):
    run = load("smoke: {}", "smoke=true")
    assert run.smoke
    cold, rl = run.stages["cold"], run.stages["rl"]
    assert (cold.model.tiny, cold.model.path) == ("qwen2_5_omni", None)
    assert cold.optim.steps <= 30
    assert rl.optim.steps <= 10
    assert rl.rollout.max_new_tokens <= 64


def test_the_curriculums_smoke_lies_over_the_default_and_under_the_command_line(load):
    smoke = "smoke: {every: {optim: {steps: 5}}, grpo: {optim: {steps: 6}}, stages: {rl: {optim: {steps: 7}}}}"
    asked = ("smoke=true",)
    assert [s.optim.steps for s in load(smoke, *asked).stages.values()] == [5, 7]
    found = load(smoke, *asked, "optim.steps=9")
    assert [s.optim.steps for s in found.stages.values()] == [9, 9]
    found = load(
        smoke,
        *asked,
        "stages.rl.optim.steps=8",
        "stages.cold.model.path=p",
        "stages.cold.model.tiny=null",
    )
    assert found.stages["rl"].optim.steps == 8
    assert found.stages["cold"].model.path == "p"


def test_rows_and_model_take_the_place_of_what_was_there(load):
    smoke = "smoke: {every: {data: {train: {made: {path: made.jsonl}}}}}"
    run = load(smoke, "smoke=true")
    assert [list(stage.data.train) for stage in run.stages.values()] == [["made"], ["made"]]


def test_a_key_for_every_stage_goes_to_those_that_have_it(load):
    run = load("smoke: {every: {rollout: {group_size: 3}, algo: {loss: grpo}}}", "smoke=true")
    assert run.stages["rl"].rollout.group_size == 3
    assert run.stages["rl"].algo.loss == "grpo"


def test_a_reward_that_asks_a_server_can_be_taken_away(load):
    run = load("smoke: {stages: {rl: {rewards: {terms: {form: null}}}}}", "smoke=true")
    assert list(run.stages["rl"].rewards.terms) == ["accuracy"]


def test_a_stage_that_only_the_smoke_form_has_goes_first(load):
    run = load("smoke: {stages: {warm: {stage: sft, optim: {steps: 2}}}}", "smoke=true")
    assert list(run.stages) == ["warm", "cold", "rl"]
    assert run.stages["warm"].optim.steps == 2


def test_each_round_of_a_repeated_stage_is_changed(load):
    stages = "  rounds: {repeat: 2, stages: {cold: {stage: sft}, rl: {stage: grpo}}}"
    run = load("smoke: {stages: {rl: {optim: {steps: 2}}}}", "smoke=true", stages=stages)
    assert [run.stages[f"rl_{n}"].optim.steps for n in (1, 2)] == [2, 2]


@pytest.mark.parametrize(
    ("smoke", "message"),
    [
        ("", r"^smoke=true: configs/curriculum/mine.yaml has no section 'smoke'$"),
        ("smoke: {evry: {}}", "smoke.evry: unknown key; did you mean 'every'"),
        ("smoke: {every: 3}", r"smoke.every: must hold 'key: value' lines"),
        ("smoke: {stages: {rl: 3}}", r"smoke.stages.rl: must hold 'key: value' lines"),
        (
            "smoke: {stages: {rll: {}}}",
            "smoke.stages.rll: there is no such stage; did you mean 'rl'",
        ),
        ("smoke: {stages: {rl: {optm: {steps: 2}}}}", "stages.rl.optm: unknown key"),
        ("smoke: {every: {optim: {steps: 0}}}", "optim.steps: .*smoke.every"),
    ],
)
def test_a_mistake_is_a_line(load, smoke, message):
    with pytest.raises(ConfigError, match=message):
        load(smoke, "smoke=true")


def test_a_stage_by_itself_has_no_smoke_form():
    with pytest.raises(ConfigError, match="has no section 'smoke'"):
        load_run(["stage=vl_cogito/grpo", "smoke=true"], default_project())


def test_a_run_remembers_that_it_was_smoke(load, tmp_path: Path):
    from mmrl.config.dump import dump_run
    from mmrl.config.loader import load_resolved

    run = load("smoke: {}", "smoke=true")
    (tmp_path / "config.yaml").write_text(dump_run(run))
    assert load_resolved(tmp_path) == run
