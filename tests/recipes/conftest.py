"""Recipes as they are resolved, and the systems that there have to be."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from mmrl.config.loader import load_run
from mmrl.config.schema import Run
from mmrl.project import default_project

SYSTEMS = (
    "apriel_15b_thinker",
    "cls_rl",
    "craft_gui",
    "curr_reft",
    "humansense",
    "infi_mmr",
    "jigsaw_r1",
    "keye_vl_1_5",
    "med_curriculum",
    "mm_upt",
    "modomodo",
    "observe_r1",
    "openvlthinker",
    "r1_aqa",
    "r1_reward",
    "rl_with_cold_start",
    "seed_bench_r1",
    "spatial_ladder",
    "ssl4rl",
    "thinklite_vl",
    "ton",
    "ui_r1",
    "v_triune",
    "video_thinker",
    "videossr",
    "vision_r1_alignment",
    "vision_r1_reasoning",
    "vl_cogito",
    "vlaa_thinking",
)
"""The 29 published systems that answer in a single turn."""
VARIANTS = ("ui_r1_e",)
OFTEN = ("vl_cogito", "v_triune", "ton", "mm_upt", "r1_aqa", "keye_vl_1_5")
"""Those whose smoke form is trained in every run of the tests, for the others."""


@cache
def resolved(name: str, *arguments: str) -> Run:
    return load_run([f"curriculum={name}", "out=x", *arguments], default_project()).run


@pytest.fixture
def recipe():
    """The run of a curriculum: `recipe("vl_cogito", "seed=1")`."""
    return resolved


@pytest.fixture
def stages():
    """The stages of a curriculum in order, as they are resolved."""
    return lambda name, *arguments: resolved(name, *arguments).stages


@pytest.fixture
def configs() -> Path:
    return default_project() / "configs"


def pytest_generate_tests(metafunc):
    if "system" in metafunc.fixturenames:
        metafunc.parametrize("system", SYSTEMS)
    if "trained_system" in metafunc.fixturenames:
        slow = [
            pytest.param(name, marks=pytest.mark.slow if name not in OFTEN else ())
            for name in (*SYSTEMS, *VARIANTS)
        ]
        metafunc.parametrize("trained_system", slow)
