from __future__ import annotations

from pathlib import Path

import pytest

from mmrl.config.dump import dump_run
from mmrl.config.loader import differences, load_resolved
from mmrl.config.yaml12 import parse
from mmrl.errors import ConfigError

ODD = (
    'data.system="yes\\n1e-6: # \\u00e9"',
    "data.train.a.params={steps: {1e-3: [no, '1e-6', {x: null}]}, word: off}",
    "model.freeze=['^visual\\.', 'a: b']",
    "optim.lr=1e-22",
)


def test_a_written_run_reads_back_as_the_same_run(load, project: Path):
    loaded = load("curriculum=toy", *ODD)
    (project / "config.yaml").write_text(dump_run(loaded.run))
    assert load_resolved(project / "config.yaml") == loaded.run
    assert load_resolved(project) == loaded.run
    assert dump_run(load_resolved(project)).replace(".0\n", "\n") == dump_run(loaded.run).replace(
        ".0\n", "\n"
    )


def test_origins_are_comments_and_change_nothing(load, project: Path):
    loaded = load("curriculum=toy", *ODD)
    text = dump_run(loaded.run, loaded.provenance)
    assert parse(text, "x") == parse(dump_run(loaded.run), "x")
    lines = {line.split(":")[0].strip(): line for line in text.splitlines()}
    assert lines["freeze"].endswith("  # command line")
    assert lines["weight_decay"].endswith("  # schema default")
    values = [line for line in text.splitlines() if not line.endswith(":")]
    assert all("  # " in line for line in values)


def test_text_with_a_dollar_sign_is_not_a_reference_any_more(load, project: Path):
    run = load("stage=toy/sft", r"data.system=\${seed}").run
    assert run.stages["sft"].data.system == "${seed}"
    (project / "config.yaml").write_text(dump_run(run))
    assert load_resolved(project) == run


def test_a_written_run_that_was_broken_by_hand_names_file_and_key(load, project: Path):
    text = dump_run(load("curriculum=toy").run)
    file = project / "config.yaml"
    file.write_text(text.replace("weight_decay: 0.0", "weight_decay: -1").replace("seed:", "sed:"))
    with pytest.raises(ConfigError) as caught:
        load_resolved(file)
    assert str(caught.value).splitlines() == [
        f"stages.sft.optim.weight_decay: must be at least 0, got -1 ({file})",
        f"stages.grpo.optim.weight_decay: must be at least 0, got -1 ({file})",
        f"sed: unknown key; did you mean 'seed'? ({file})",
    ]


def test_differences_name_keys_and_both_values(load):
    one = load("curriculum=toy").run
    other = load("curriculum=toy", "stages.grpo.optim.lr=1", "rewards.terms.length=null").run
    found = {key: (left, right) for key, left, right in differences(one, other)}
    assert found["stages.grpo.optim.lr"] == (5e-4, 1.0)
    assert found["stages.grpo.rewards.terms.length.name"] == ("overlong", None)
    assert all(key.startswith("stages.grpo.") for key in found)
    assert differences(one, one) == []
