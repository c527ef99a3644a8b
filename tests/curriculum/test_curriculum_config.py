"""Sections that come in kinds, stages that repeat, and stages that name earlier ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmrl.config.dump import dump_run
from mmrl.config.loader import LoadedRun, differences, load_resolved, load_run
from mmrl.config.stage_order import starts_from
from mmrl.errors import UserError

FILES = {
    "stage/sft.yaml": "{kind: sft, defaults: [/model: tiny, /data: toy], optim: {steps: 5}}",
    "stage/grpo.yaml": "{kind: grpo, defaults: [/model: tiny, /data: toy], optim: {steps: 5}}",
    "stage/pick.yaml": "{kind: select, defaults: [/model: tiny, /data: toy]}",
    "model/tiny.yaml": "{family: qwen2_5_omni, tiny: qwen2_5_omni}",
    "data/toy.yaml": "{train: {a: {path: rows.jsonl}}}",
    "sampling/window.yaml": "{kind: window, low: 0.3}",
    "sampling/uniform.yaml": "{kind: uniform}",
    "curriculum/rounds.yaml": """
stages:
  warm: {stage: grpo, optim: {steps: 2}}
  rounds:
    repeat: 2
    stages:
      sft: {stage: sft, start: base, data: {train: {a: {path: "traces_${round}.jsonl"}}}}
      grpo: {stage: grpo}
  last: {stage: sft, start: grpo, repeat: 2}
""",
    "curriculum/pick.yaml": """
stages:
  warm: {stage: grpo}
  pick: {stage: pick, select: {low: 0.2}}
  learn: {stage: sft, data: {train: {a: null, kept: {stage: pick}}}}
""",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load(project: Path) -> Callable[..., LoadedRun]:
    return lambda *arguments: load_run(arguments, project)


@pytest.fixture
def mistakes(load) -> Callable[..., list[str]]:
    def mistakes(*arguments: str) -> list[str]:
        with pytest.raises(UserError) as caught:
            load(*arguments)
        return str(caught.value).splitlines()

    return mistakes


# sections in kinds


def test_a_stage_samples_uniformly_unless_it_is_told_otherwise(load):
    stage = load("stage=grpo").run.stages["grpo"]
    kinds = (stage.sampling.kind, stage.mixture.kind, stage.filter.kind, stage.weight.kind)
    assert kinds == ("uniform", "pooled", "none", "equal")


def test_a_kind_has_only_the_keys_that_act_in_it(load, mistakes):
    stage = load("stage=grpo", "sampling.kind=window", "sampling.low=0.1").run.stages["grpo"]
    assert stage.sampling.low == 0.1
    found = mistakes("stage=grpo", "sampling.kind=value", "sampling.low=0.1")
    assert found == [
        "sampling.low: only kind window has it, and the kind is value; sampling=NAME takes another "
        "file of configs/sampling/ for the whole section (command line)"
    ]
    found = mistakes("stage=grpo", "sampling.kind=window", "sampling.loww=0.1")
    assert found[0].startswith("sampling.loww: unknown key; did you mean 'sampling.low'?")


def test_a_kind_that_is_not_there_is_one_line(mistakes):
    assert mistakes("stage=grpo", "sampling.kind=windows") == [
        "sampling.kind: must be uniform, easy_to_hard, self_paced, window, value, angle or lim, got "
        "'windows'; did you mean 'window'? (command line)"
    ]
    assert mistakes("stage=grpo", "filter.low=0.1")[0].startswith(
        "filter.kind: must be said: none, spread, band"
    )
    assert mistakes("stage=sft", "sampling.kind=window") == [
        "sampling.kind: must be uniform, easy_to_hard or self_paced, got 'window' (command line)"
    ]


def test_a_file_replaces_the_whole_section(load):
    stage = load("stage=grpo", "sampling=window").run.stages["grpo"]
    assert (stage.sampling.kind, stage.sampling.low) == ("window", 0.3)
    assert load("stage=grpo", "sampling=uniform").run.stages["grpo"].sampling.kind == "uniform"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["sampling.kind=window", "sampling.low={0: 0.1, 0.5: 0.9}"],
            "sampling: the window of pass rates is 0.9 to 0.8 after progress 0.5; 'low' is at",
        ),
        (["sampling.kind=self_paced", "sampling.open={0: 0}"], "sampling: open: shares are more"),
        (["filter.kind=band", "filter.low=0.9"], "filter: low (0.9) is larger than high (0.8)"),
        (
            ["mixture={kind: fixed, weights: {a: 0, b: {0: 1, 0.5: 0}}}"],
            "mixture: weights: one of them has to be more than 0 at every moment",
        ),
        (["mixture={kind: fixed, weights: {a: -1}}"], "mixture: weights: a weight is negative"),
        (
            [
                "weight.kind=odsw_easy",
                "rewards.terms={accuracy: null, f: {name: think_answer}}",
            ],
            "kind odsw_easy goes by the rows' accuracy: rewards.terms needs 'accuracy'",
        ),
        (["stop.reward.steps=5"], "stop.reward.at_least: required, and not given"),
    ],
)
def test_what_cannot_be_sampled_is_one_line(mistakes, arguments, line):
    found = mistakes("stage=grpo", *arguments)
    assert len(found) == 1
    assert found[0].startswith(line)


def test_what_was_resolved_is_read_back_as_it_was(load, tmp_path):
    arguments = ["stage=grpo", "sampling=window", "sampling.high={0: 0.5, 0.2: 0.9}"]
    arguments += ["mixture={kind: fixed, weights: {a: 1, b: {0: 1, 0.5: 2}}}", "stop.tokens=9"]
    arguments += ["filter.kind=spread", "weight.kind=observe_r1", "stop.plateau={steps: 3}"]
    run = load(*arguments, "out=x").run
    (tmp_path / "resolved.yaml").write_text(dump_run(run))
    assert differences(load_resolved(tmp_path / "resolved.yaml"), run) == []


# rounds


def test_repeated_stages_are_written_out_in_order(load):
    stages = load("curriculum=rounds").run.stages
    names = ["warm", "sft_1", "grpo_1", "sft_2", "grpo_2", "last_1", "last_2"]
    assert [*stages] == names
    assert stages["sft_2"].data.train["a"].path == Path("traces_2.jsonl")


def test_a_stage_starts_from_the_round_before_it_or_from_the_model_itself(load):
    stages = load("curriculum=rounds").run.stages
    assert {name: starts_from(stages, name) for name in stages} == {
        "warm": None,
        "sft_1": None,
        "grpo_1": "sft_1",
        "sft_2": None,
        "grpo_2": "sft_2",
        "last_1": "grpo_2",
        "last_2": "grpo_2",
    }


def test_one_round_or_all_can_be_changed(load):
    loaded = load("curriculum=rounds", "stages.grpo.optim.lr=3e-4", "stages.grpo_2.optim.lr=1e-4")
    rates = {name: stage.optim.lr for name, stage in loaded.run.stages.items()}
    assert (rates["warm"], rates["grpo_1"], rates["grpo_2"]) == (1e-6, 3e-4, 1e-4)
    assert loaded.provenance["stages.grpo_1.optim.lr"] == "command line"
    assert loaded.provenance["stages.sft_2.start"] == "configs/curriculum/rounds.yaml"
    longer = load("curriculum=rounds", "stages.rounds.repeat=3", "stages.last.repeat=1").run.stages
    assert [name for name in longer if name.startswith("grpo")] == ["grpo_1", "grpo_2", "grpo_3"]
    assert "last_2" not in longer
    shorter = load("curriculum=rounds", "stages.sft_2=null").run.stages
    assert "sft_2" not in shorter


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["stages.rounds.repeat=0"], "stages.rounds.repeat: must be an integer of at least 1, got"),
        (["stages.sft_9.optim.lr=1"], "stages.sft_9.optim.lr: there is no stage 'sft_9'"),
        (
            ["stages.warm.start=grpo"],
            "stages.warm.start: there is no earlier stage 'grpo'; (before it: none)",
        ),
    ],
)
def test_a_mistake_in_rounds_is_one_line(mistakes, arguments, line):
    found = mistakes("curriculum=rounds", *arguments)
    assert len(found) == 1
    assert found[0].startswith(line)


def test_two_stages_of_one_name_are_refused(mistakes, project):
    text = "stages: {grpo_1: {stage: grpo}, grpo: {stage: grpo, repeat: 1}}"
    (project / "configs/curriculum/twice.yaml").write_text(text)
    assert mistakes("curriculum=twice") == [
        "stages: two stages are called 'grpo_1', once written out"
    ]


# selecting


def test_who_follows_a_selection_starts_where_it_started(load):
    stages = load("curriculum=pick").run.stages
    assert starts_from(stages, "pick") == starts_from(stages, "learn") == "warm"
    assert stages["learn"].data.train["kept"].stage == "pick"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["stages.learn.data.train.kept.stage=pic"],
            "stages.learn.data.train.kept.stage: there is",
        ),
        (
            ["stages.learn.data.train.kept.stage=warm"],
            "stages.learn.data.train.kept.stage: 'warm' ",
        ),
        (["stages.learn.data.train.kept.path=x"], "stages.learn.data.train.kept: give either"),
        (["stages.pick.select.low=0.9", "stages.pick.select.high=0.1"], "stages.pick.select: low"),
        (
            ["stages.learn.data.heldout={x: {stage: pick}}"],
            "stages.learn.data: heldout: rows that a stage selects are trained on",
        ),
    ],
)
def test_a_mistake_in_a_selection_is_one_line(mistakes, arguments, line):
    found = mistakes("curriculum=pick", *arguments)
    assert len(found) == 1
    assert found[0].startswith(line)
