from __future__ import annotations

from pathlib import Path

import pytest

from mmrl.config.schema import GrpoStage, SftStage
from mmrl.schedule import Schedule


def test_a_stage_alone_is_a_run_of_one_stage_named_by_its_file(load):
    run = load("stage=toy/sft").run
    assert run.name == "sft"
    assert list(run.stages) == ["sft"]
    assert isinstance(run.stages["sft"], SftStage)


def test_each_level_gives_way_to_the_next(load):
    assert load("stage=toy/grpo").run.stages["grpo"].optim.lr == 1e-3  # the base file
    assert load("stage=toy/grpo").run.stages["grpo"].optim.weight_decay == 0  # the schema
    assert load("stage=toy/sft").run.stages["sft"].optim.steps == 5  # the file over its base
    curriculum = load("curriculum=toy").run
    assert curriculum.stages["grpo"].optim.lr == 5e-4  # the curriculum over the file
    assert curriculum.stages["sft"].optim.lr == 1e-3
    assert load("curriculum=toy", "optim.lr=1e-6").run.stages["grpo"].optim.lr == 1e-6


def test_the_stages_of_a_curriculum_keep_their_order(load):
    assert list(load("curriculum=toy").run.stages) == ["sft", "grpo"]


def test_one_stage_can_be_addressed_alone(load):
    stages = load("curriculum=toy", "stages.grpo.optim.lr=1e-4").run.stages
    assert (stages["sft"].optim.lr, stages["grpo"].optim.lr) == (1e-3, 1e-4)


def test_of_two_arguments_for_a_key_the_later_one_counts(load):
    arguments = ("optim.steps=3", "stages.sft.optim.steps=4", "optim.grad_clip=5", "optim.steps=6")
    assert load("curriculum=toy", *arguments).run.stages["sft"].optim.steps == 6
    assert load("curriculum=toy", *arguments[:3]).run.stages["sft"].optim.steps == 4


def test_an_entry_that_some_stages_have_is_changed_in_those_only(load):
    arguments = ("curriculum=toy", "rewards.terms.length.weight=0.5", "data.train.a.limit=2")
    stages = load(*arguments).run.stages
    assert not hasattr(stages["sft"], "rewards")
    assert stages["grpo"].rewards.terms["length"].weight == 0.5
    assert [stage.data.train["a"].limit for stage in stages.values()] == [2, 2]


def test_an_entry_that_no_stage_has_is_made_in_all(load):
    stages = load("curriculum=toy", "data.heldout.b.path=rows.jsonl").run.stages
    assert [list(stage.data.heldout) for stage in stages.values()] == [["b"], ["b"]]


def test_a_key_that_only_some_stages_have_is_set_in_those(load):
    grpo = load("curriculum=toy", "algo.kl_weight=0.3").run.stages["grpo"]
    assert isinstance(grpo, GrpoStage)
    assert grpo.algo.kl_weight == 0.3


def test_a_chosen_file_takes_the_place_of_the_one_in_the_defaults(load):
    model = load("curriculum=toy", "model=big").run.stages["sft"].model
    assert (model.tiny, model.dtype) == (None, "bfloat16")


def test_a_chosen_file_replaces_a_section_that_no_defaults_chose(load, write):
    write("stage/own.yaml", "{defaults: [data: toy], kind: sft, optim: {steps: 1}}")
    write("stage/inline.yaml", "{defaults: [own], model: {family: qwen2_vl, tiny: qwen3_vl}}")
    model = load("stage=inline", "model=big").run.stages["inline"].model
    assert (model.family, model.tiny) == ("qwen2_5_vl", None)


def test_a_choice_for_every_stage_reaches_only_stages_with_the_section(load):
    grpo = load("curriculum=toy", "algo=plain").run.stages["grpo"]
    assert isinstance(grpo, GrpoStage)
    assert (grpo.algo.loss, grpo.algo.kl_weight) == ("grpo", 0.1)


def test_a_choice_can_be_made_for_one_stage_on_the_command_line_or_in_the_curriculum(load, write):
    stages = load("curriculum=toy", "stages.grpo.model=big").run.stages
    assert (stages["sft"].model.dtype, stages["grpo"].model.dtype) == ("float32", "bfloat16")
    write("curriculum/two.yaml", "stages: {a: {stage: toy/sft, model: big}, b: {stage: toy/sft}}")
    stages = load("curriculum=two").run.stages
    assert (stages["a"].model.dtype, stages["b"].model.dtype) == ("bfloat16", "float32")


def test_of_two_choices_of_a_group_only_the_last_is_read(load, write):
    write("stage/later.yaml", "{defaults: [toy/sft, model: big], kind: sft}")
    assert load("stage=later").run.stages["later"].model.tiny is None


def test_self_says_where_the_file_itself_stands_among_its_defaults(load, write):
    write("stage/toy/first.yaml", "{defaults: [_self_, sft], kind: sft, optim: {steps: 99}}")
    write("stage/toy/last.yaml", "{defaults: [sft, _self_], kind: sft, optim: {steps: 99}}")
    assert load("stage=toy/first").run.stages["first"].optim.steps == 5
    assert load("stage=toy/last").run.stages["last"].optim.steps == 99


def test_a_group_file_may_build_on_one_beside_it(load, write):
    write("model/bigger.yaml", "{defaults: [big], dtype: float32, attention: eager}")
    model = load("stage=toy/sft", "model=bigger").run.stages["sft"].model
    assert (model.path, model.dtype) == ("Qwen/Qwen2.5-VL-7B-Instruct", "float32")


def test_values_refer_to_others_of_their_stage_and_to_the_seed(load):
    stage = load("stage=toy/grpo", "rollout.group_size=6", "seed=11").run.stages["grpo"]
    assert stage.rollout.prompts_per_step == 6
    assert stage.data.train["a"].params == {"seed": 11}


def test_a_schedule_replaces_the_one_below_it_and_is_not_mixed_with_it(load):
    terms = load("stage=toy/grpo", "rewards.terms.length.weight={0: 0.3, 0.9: 0.1}").run
    weight = terms.stages["grpo"].rewards.terms["length"].weight
    assert weight == Schedule.of({0: 0.3, 0.9: 0.1})


def test_lists_replace_and_mappings_merge(load):
    stage = load("stage=toy/grpo", "optim.betas=[0.1, 0.2]", "rewards.terms.length.params={k: 1}")
    assert stage.run.stages["grpo"].optim.betas == (0.1, 0.2)
    params = stage.run.stages["grpo"].rewards.terms["length"].params
    assert params == {"unit": "yes", "k": 1}


def test_null_takes_away_a_named_entry(load):
    run = load("curriculum=toy", "stages.sft=null", "rewards.terms.length=null").run
    assert list(run.stages) == ["grpo"]
    assert list(run.stages["grpo"].rewards.terms) == ["accuracy"]


def test_the_accuracy_term_is_there_unless_it_is_taken_away(load, write):
    asked = ("stage=bare", "rewards.terms.format.name=think_answer")
    write("stage/bare.yaml", "defaults: [toy/base]\nkind: grpo")
    terms = load(*asked).run.stages["bare"].rewards
    assert list(terms.terms) == ["accuracy", "format"]
    terms = load("stage=toy/grpo", "rewards.terms.accuracy=null").run.stages["grpo"].rewards
    assert list(terms.terms) == ["length"]


def test_three_question_marks_leave_a_value_open(load, write):
    write("stage/open.yaml", "defaults: [toy/sft]\noptim:\n  lr: ???")
    assert load("stage=open").run.stages["open"].optim.lr == 1e-6
    assert load("stage=open", "optim.lr=2e-5").run.stages["open"].optim.lr == 2e-5


@pytest.mark.parametrize(
    ("argument", "system"),
    [
        ("data.system=Answer: yes, or no # really", "Answer: yes, or no # really"),
        ("data.system=1e-6", "1e-6"),
        ("data.system=true", "true"),
        ("data.system=a=b", "a=b"),
        ("data.system='a b'", "a b"),
        ('data.system="line\\nline"', "line\nline"),
        ("data.system=null", None),
        ("data.system=", None),
    ],
)
def test_text_needs_no_quotes_on_the_command_line(load, argument, system):
    assert load("stage=toy/sft", argument).run.stages["sft"].data.system == system


def test_only_the_first_equals_sign_separates(load):
    run = load("stage=toy/sft", "data.train.a.params.rule=x=y", "model=big", "model.path=a=b").run
    assert run.stages["sft"].data.train["a"].params["rule"] == "x=y"
    assert run.stages["sft"].model.path == "a=b"


def test_run_keys_come_from_the_command_line_and_the_curriculum(load, write):
    write("curriculum/named.yaml", "{defaults: [toy, launch: node], name: mine, seed: 4}")
    run = load("curriculum=named").run
    assert (run.name, run.seed, run.launch.processes) == ("mine", 4, 4)
    assert load("curriculum=named", "seed=5", "out=x y").run.out == Path("x y")
    assert load("curriculum=toy", "launch=node").run.launch.strategy == "zero2"
    assert load("curriculum=named", "launch=local").run.launch.processes == 1


def test_the_run_folder_is_numbered_after_the_last_one(load, project: Path):
    assert load("curriculum=toy").run.out == Path("runs/toy/001")
    (project / "runs/toy/007").mkdir(parents=True)
    (project / "runs/toy/notes").mkdir()
    assert load("curriculum=toy").run.out == Path("runs/toy/008")


def test_every_key_says_where_it_came_from(load):
    origins = load("curriculum=toy", "optim.grad_clip=2", "seed=1").provenance
    assert origins["stages.grpo.optim.lr"] == "configs/curriculum/toy.yaml"
    assert origins["stages.grpo.optim.grad_clip"] == "command line"
    assert origins["stages.grpo.optim.steps"] == "configs/stage/toy/base.yaml"
    assert origins["stages.grpo.optim.warmup_steps"] == "schema default"
    assert origins["stages.grpo.rollout.prompts_per_step"] == "configs/stage/toy/grpo.yaml"
    assert origins["stages.sft.model.family"] == "configs/model/tiny.yaml"
    assert origins["stages.sft.optim.lr"] == "configs/stage/toy/base.yaml"
    assert origins["seed"] == "command line"
    assert origins["launch.processes"] == "schema default"


def test_what_suits_a_model_lies_below_what_a_stage_says_of_its_media(load, write):
    write("model/wide.yaml", "{family: qwen3_vl, path: a/b, media: {video_fps: 1.0, cache_mb: 7}}")
    write("stage/toy/seen.yaml", "{defaults: [sft], media: {video_fps: 4.0, video_max_frames: 9}}")

    loaded = load("stage=toy/seen", "model=wide", "media.video_max_frames=5", "out=x")

    media, origins = loaded.run.stages["seen"].media, loaded.provenance
    assert (media.video_fps, media.cache_mb, media.video_max_frames) == (4.0, 7, 5)
    assert origins["stages.seen.media.cache_mb"] == "configs/model/wide.yaml"
    assert origins["stages.seen.media.video_fps"] == "configs/stage/toy/seen.yaml"
    assert load("stage=toy/seen", "out=x").run.stages["seen"].media.cache_mb == 512
    tried = load("stage=toy/seen", "model=wide", "media.cache_mb=9", "out=x").run.stages["seen"]
    assert tried.media.cache_mb == 9


def test_a_misspelt_key_of_a_models_media_is_found_where_it_stands(mistakes, write):
    write("model/wide.yaml", "{family: qwen3_vl, path: a/b, media: {video_fsp: 1.0}}")
    assert mistakes("stage=toy/sft", "model=wide", "out=x") == [
        "media.video_fsp: unknown key; did you mean 'media.video_fps'? (configs/model/wide.yaml)"
    ]
