from __future__ import annotations

import pytest

from mmrl.config.schema import ModelConfig


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        (
            "rollout.group_sise=4",
            "rollout.group_sise: unknown key; did you mean 'rollout.group_size'? (command line)",
        ),
        (
            "group_size=4",
            "group_size: unknown key; did you mean 'rollout.group_size'? (command line)",
        ),
        ("lr=1e-4", "lr: unknown key; did you mean 'optim.lr'? (command line)"),
        (
            "rolout.top_k=4",
            "rolout.top_k: unknown key; did you mean 'rollout.top_k'? (command line)",
        ),
        ("rollout.group_size=1", "rollout.group_size: must be at least 2, got 1 (command line)"),
        (
            "rollout.max_new_tokens=four",
            "rollout.max_new_tokens: must be an integer, got 'four' (command line)",
        ),
        (
            "rollout.max_new_tokens=4.5",
            "rollout.max_new_tokens: must be an integer, got 4.5 (command line)",
        ),
        (
            "rollout.max_new_tokens=true",
            "rollout.max_new_tokens: must be an integer, got true (command line)",
        ),
        (
            "rollout.max_new_tokens=",
            "rollout.max_new_tokens: must be an integer, got null (command line)",
        ),
        ("rollout.temperature=0", "rollout.temperature: must be more than 0, got 0 (command line)"),
        ("rollout.top_p=1.5", "rollout.top_p: must be at most 1, got 1.5 (command line)"),
        ("optim.lr=.inf", "optim.lr: must be a finite number, got .inf (command line)"),
        ("optim.lr=1e", "optim.lr: must be a number, got '1e' (command line)"),
        ("log.rollouts=yes", "log.rollouts: must be true or false, got 'yes' (command line)"),
        (
            "model.dtype=bfloat61",
            "model.dtype: must be float32 or bfloat16, got 'bfloat61'; did you mean 'bfloat16'? "
            "(command line)",
        ),
        ("optim.betas=[0.9]", "optim.betas.1: required, and not given (command line)"),
        ("optim.betas=[0.9, x]", "optim.betas.1: must be a number, got 'x' (command line)"),
        ("optim.betas=0.9", "optim.betas: must be a list, got 0.9 (command line)"),
        (
            "log.trackers=[wandb, tensorbord]",
            "log.trackers.1: must be tensorboard, wandb or trackio, got 'tensorbord'; did you mean "
            "'tensorboard'? (command line)",
        ),
        ("optim.steps=null", "optim.steps: must be an integer, got null (command line)"),
        ("seed=-1", "seed: must be at least 0, got -1 (command line)"),
        ("name=../x", "name: must be letters, digits, '_', '-' and '.', got '../x' (command line)"),
        (
            "data.train.a.limt=3",
            "data.train.a.limt: unknown key; did you mean 'data.train.a.limit'? (command line)",
        ),
        (
            "rewards.terms.length.weight={0.1: 2}",
            "rewards.terms.length.weight: a schedule starts at progress 0.0, got {0.1: 2} (command line)",
        ),
        (
            "rewards.terms.length.weight=high",
            "rewards.terms.length.weight: must be a number or a schedule such as {0: 1, 0.5: 0.2}, "
            "got 'high' (command line)",
        ),
        (
            "rewards.terms.fresh.weight=1",
            "rewards: term 'fresh': every term but 'accuracy' needs 'name', and 'accuracy' has none "
            "(configs/stage/toy/grpo.yaml, command line)",
        ),
        (
            "model.tiny=null",
            "model: give either 'path' (a checkpoint) or 'tiny' (a built model), not both or neither "
            "(configs/model/tiny.yaml, command line)",
        ),
        (
            "algo.minibatches=3",
            "rollout.prompts_per_step (4) is not a multiple of algo.minibatches (3): groups are never "
            "torn apart (configs/stage/toy/grpo.yaml)",
        ),
        (
            "data.train.a.params={0.5: x}",
            "data.train.a.params: the key 0.5 must be text (command line)",
        ),
        ("kind=ppo", "kind: must be sft or grpo or select; 'ppo' is none of them (command line)"),
        (
            "model=bigg",
            "model=bigg: there is no configs/model/bigg.yaml; did you mean 'big'? (there are: big, ...",
        ),
        ("optim=fast", "optim=fast: there is no configs/optim/fast.yaml; there are none"),
        (
            "model=../model/big",
            "model=../model/big: there is no configs/model/../model/big.yaml; ...",
        ),
        (
            "launch.processes=3",
            "launch: strategy 'single' does not go with 3 process(es); use ddp, zero2, zero3 or "
            "fsdp2 (command line)",
        ),
        (
            "optim.lr=${optim.lrr}",
            "optim.lr: cannot follow '${optim.lrr}': Interpolation key 'optim.lrr' not found (command line)",
        ),
        (
            "optim.lr=${",
            "optim.lr: cannot follow '${': no viable alternative at input '${' (command line)",
        ),
        ("lr", "'lr': arguments are written KEY=VALUE, for example optim.lr=1e-6"),
        ("+a.b=1", "'+a.b=1': keys are written without '+'; KEY=null takes an entry away"),
        ("a..b=1", "'a..b=1': 'a..b' is not a key; keys are written section.key"),
        ("=1", "'=1': '' is not a key; keys are written section.key"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(mistakes, argument, line):
    found = mistakes("stage=toy/grpo", argument)
    assert len(found) == 1
    assert found[0].startswith(line[:-3]) if line.endswith("...") else found[0] == line


def test_all_mistakes_are_told_at_once(mistakes):
    found = mistakes(
        "stage=toy/grpo",
        "rollout.group_sise=4",
        "rollout.group_size=1",
        "optim.lr=x",
        "seed=x",
        "zzz=1",
    )
    assert [line.partition(":")[0] for line in found] == [
        "rollout.group_sise",
        "zzz",
        "optim.lr",
        "rollout.group_size",
        "seed",
    ]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        (
            "stage/bad.yaml",
            "{defaults: [toy/grpo], rollout: {group_sise: 4}}",
            "rollout.group_sise: unknown key; did you mean 'rollout.group_size'? (configs/stage/bad.yaml)",
        ),
        (
            "stage/bad.yaml",
            "{defaults: [toy/grpo], model: tiny}",
            f"model: must be a section with the keys {', '.join(ModelConfig.model_fields)}, "
            "got 'tiny' (configs/stage/bad.yaml)",
        ),
        (
            "stage/bad.yaml",
            "{defaults: [model: tiny, data: toy], kind: sft}",
            "optim: required, and not given (configs/stage/bad.yaml)",
        ),
        (
            "stage/bad.yaml",
            "{defaults: [model: tiny, data: toy], optim: {steps: 1}}",
            "kind: must be sft or grpo or select; is not given (configs/stage/bad.yaml)",
        ),
        (
            "stage/bad.yaml",
            "{defaults: [modle: tiny]}",
            "configs/stage/bad.yaml: defaults: 'modle' cannot be chosen in configs/stage/; did you mean "
            "'model'?",
        ),
        (
            "stage/bad.yaml",
            "{defaults: [bas]}",
            "configs/stage/bad.yaml: defaults: there is no configs/stage/bas.yaml; did you mean 'bad'?",
        ),
        (
            "stage/bad.yaml",
            "{defaults: [bad]}",
            "configs/stage/bad.yaml: 'defaults:' go in a circle: configs/stage/bad.yaml -> "
            "configs/stage/bad.yaml",
        ),
        (
            "stage/bad.yaml",
            "{defaults: {model: tiny}}",
            "configs/stage/bad.yaml: 'defaults' must be a list of '- name' and '- group: name', got "
            "{'model': 'tiny'}",
        ),
        (
            "stage/bad.yaml",
            "{defaults: [[a]]}",
            "configs/stage/bad.yaml: defaults: each line is '- name' or '- group: name', got ['a']",
        ),
        (
            "stage/bad.yaml",
            "kind: grpo\nkind: sft",
            "configs/stage/bad.yaml:2: key 'kind' is given twice (first on line 1)",
        ),
        (
            "stage/bad.yaml",
            "kind: grpo\noptim:\n\tlr: 1",
            "configs/stage/bad.yaml:3: a tab stands where YAML wants spaces",
        ),
        (
            "stage/bad.yaml",
            "1: 2",
            "configs/stage/bad.yaml: must hold 'key: value' lines, got {1: 2}",
        ),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_the_file(mistakes, write, name, text, line):
    write(name, text)
    found = mistakes("stage=bad")
    assert len(found) == 1
    assert found[0].startswith(line) if line.endswith("?") else found[0] == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{}", "stages: must hold 'name: {stage: FILE}' lines, got None"),
        (
            "stages: [a]",
            "stages: must hold 'name: {stage: FILE}' lines, got ['a'] (configs/curriculum/bad.yaml)",
        ),
        (
            "stages: {a: toy/sft}",
            "stages.a: must hold 'stage: FILE', got 'toy/sft' (configs/curriculum/bad.yaml)",
        ),
        (
            "stages: {a: {stage: toy/sf}}",
            "configs/curriculum/bad.yaml: stages.a: there is no configs/stage/toy/sf.yaml; did you mean "
            "'toy/sft'?",
        ),
        (
            "{stages: {a: {stage: toy/sft}}, sead: 3}",
            "sead: unknown key; did you mean 'seed'? (configs/curriculum/bad.yaml)",
        ),
        (
            "stages: {a: {stage: toy/sft, optim: {stps: 3}}, b: {stage: toy/grpo}}",
            "stages.a.optim.stps: unknown key; did you mean 'stages.a.optim.steps'? "
            "(configs/curriculum/bad.yaml)",
        ),
    ],
)
def test_a_mistake_in_a_curriculum_names_the_stage(mistakes, write, text, line):
    write("curriculum/bad.yaml", text)
    found = mistakes("curriculum=bad")
    assert len(found) == 1
    assert found[0].startswith(line) if line.endswith("?") else found[0] == line


def test_what_is_wrong_for_every_stage_is_told_once(mistakes):
    assert mistakes("curriculum=toy", "optim.lr=0") == [
        "optim.lr: must be more than 0, got 0 (command line)"
    ]
    assert mistakes("curriculum=toy", "stages.grpo.optim.lr=0") == [
        "stages.grpo.optim.lr: must be more than 0, got 0 (command line)"
    ]


def test_a_key_of_the_other_kind_of_stage_is_explained(mistakes):
    assert mistakes("stage=toy/sft", "algo.kl_weight=1") == [
        "algo.kl_weight: only a stage of kind grpo has it (command line)"
    ]


def test_a_stage_that_the_curriculum_lacks_is_answered_with_those_it_has(mistakes):
    assert mistakes("curriculum=toy", "stages.grp.optim.lr=1") == [
        "stages.grp.optim.lr: there is no stage 'grp'; did you mean 'grpo'? (there are: sft, grpo) "
        "(command line)"
    ]


def test_what_can_be_trained_is_listed_when_nothing_or_too_much_is_named(mistakes):
    assert mistakes("stage=toy/sft", "curriculum=toy") == [
        "give either stage=NAME or curriculum=NAME (not both)"
    ]
    (line,) = mistakes("seed=1")
    assert line.startswith("give either stage=NAME or curriculum=NAME (stage: ")
    assert "toy/base, toy/grpo, toy/sft" in line


def test_a_misspelt_entry_is_recognised(mistakes):
    assert mistakes("curiculum=toy", "seed=1") == [
        "curiculum: unknown key; did you mean 'curriculum'? (command line)"
    ]


def test_an_unknown_stage_is_answered_with_the_nearest(mistakes):
    (line,) = mistakes("stage=toy/grop")
    assert line.startswith(
        "stage=toy/grop: there is no configs/stage/toy/grop.yaml; did you mean 'toy/grpo'? (there are: "
    )


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("sft", "rewards.max_unjudged=0.1"),
        ("sft", "rollout.temperature=0.5"),
        ("sft", "rollout.group_size=4"),
        ("grpo", "optim.batch_size=4"),
    ],
)
def test_a_stage_refuses_the_keys_that_would_do_nothing_in_it(mistakes, kind, key):
    [line] = mistakes(f"stage=toy/{kind}", key)
    assert line.startswith(key.partition("=")[0])
