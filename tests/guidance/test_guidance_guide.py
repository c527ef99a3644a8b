"""The settings that the guide to guidance shows are valid, and so are all files of its sections."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from mmrl.config.loader import load_run
from mmrl.config.schema import GrpoStage

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/guidance.md").read_text(), re.DOTALL)
STAGE = {
    "kind": "grpo",
    "model": {"family": "qwen2_5_vl", "tiny": "qwen2_5_vl"},
    "data": {"train": {"toy": {"path": "rows.jsonl"}}},
    "optim": {"steps": 1},
}


@pytest.mark.parametrize("text", [text for text in BLOCKS if "stages:" not in text])
def test_settings_of_the_guide_are_valid(text):
    values = yaml.safe_load(text)
    stage = GrpoStage.model_validate(STAGE | values)
    assert {key for key in values if getattr(stage, key) != GrpoStage.model_fields[key].default}


def test_length_stages_are_plain_stages():
    [text] = [text for text in BLOCKS if "stages:" in text]
    stages = yaml.safe_load(text)["stages"].values()
    given = [GrpoStage.model_validate(STAGE | {"rollout": s["rollout"]}).rollout for s in stages]
    assert [(r.max_new_tokens, r.group_size) for r in given] == [(4096, 16), (8192, 8)]


@pytest.mark.parametrize(
    "choice",
    [f"{d}={p.stem}" for d in ("guidance", "thinking") for p in (ROOT / "configs" / d).iterdir()],
)
def test_every_file_of_the_sections_can_be_chosen(choice):
    section, _, kind = choice.partition("=")
    terms = "rewards.terms.format=null"
    [stage] = load_run(["stage=geometry3k", terms, choice], ROOT).run.stages.values()
    assert getattr(stage, section).kind == kind
