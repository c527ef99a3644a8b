"""What every recipe's file says of itself, and that the table of systems names them all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmrl.config.schema import GrpoStage

DOCS = Path(__file__).resolve().parents[2] / "docs" / "systems.md"


def head(configs: Path, name: str) -> str:
    """The comment that opens a curriculum's file."""
    text = (configs / "curriculum" / f"{name}.yaml").read_text()
    return "\n".join(line for line in text.partition("\nstages:")[0].splitlines())


def test_a_recipe_says_what_it_needs_and_what_it_should_reach(configs, system):
    text = head(configs, system)
    assert text.startswith(f"# mmrl train curriculum={system}")
    for word in ("Hardware", "Data", "Reaches"):
        assert f"# {word}  " in text, word
    assert "# Inferred" in text or "# Differs" in text


def test_a_recipe_names_every_file_that_its_stages_read(configs, stages, system):
    text = re.sub(r"\n#\s+", " ", head(configs, system))
    for stage in stages(system).values():
        for source in stage.data.train.values():
            if source.path is not None:
                file = source.path.name
                folder = f"{source.path.parent}/*.jsonl"
                listed = file in text or folder in text or f"{source.path.parent}/: " in text
                assert listed or file.removesuffix(".jsonl") in text, file


def test_a_recipe_is_not_smoke_unless_that_is_asked_for(recipe, system):
    assert not recipe(system).smoke
    assert recipe(system, "smoke=true").smoke


def test_the_smoke_form_has_made_up_rows_a_tiny_model_and_few_steps(stages, system):
    made = stages(system, "smoke=true")
    steps = 0
    for stage in made.values():
        assert stage.model.tiny == "qwen2_5_omni"
        assert stage.rollout.max_new_tokens <= 80
        for source in stage.data.train.values():
            assert source.pipeline == "smoke" or source.stage is not None
        steps += stage.steps
    assert 0 < steps <= 90


def test_the_smoke_form_keeps_what_makes_the_recipe(stages, system):
    plain, made = stages(system), stages(system, "smoke=true")
    assert [name for name in made if name in plain] == list(plain)
    for name, stage in plain.items():
        small = made[name]
        assert type(small) is type(stage)
        if isinstance(stage, GrpoStage):
            assert isinstance(small, GrpoStage)
            same = ("algo", "sampling", "mixture", "filter", "weight", "guidance", "thinking")
            assert [getattr(small, k) for k in same] == [getattr(stage, k) for k in same]
            assert small.rewards.combine == stage.rewards.combine
            gone = {*stage.rewards.terms} - {*small.rewards.terms}
            assert gone <= {"judge", "open"}, "only what asks another model may be left out"


def test_the_table_of_systems_has_a_line_for_each_with_its_file(configs, system):
    lines = [line for line in DOCS.read_text().splitlines() if f"`{system}`" in line]
    assert any(line.startswith("| ") and line.count("|") == 6 for line in lines)


def test_every_curriculum_in_the_table_exists(configs):
    table = [line for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    names = {name for line in table for name in re.findall(r"`(\w+)`", line.split("|")[2])}
    have = {path.stem for path in (configs / "curriculum").glob("*.yaml")}
    assert names <= have
    assert len(table) - 1 == 29


@pytest.mark.parametrize("name", ["mmrl train curriculum=vl_cogito smoke=true", "smoke:"])
def test_the_page_says_how_a_smoke_form_is_asked_for_and_written(name):
    assert name in DOCS.read_text()
