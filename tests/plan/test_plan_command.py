"""`mmrl plan` as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mmrl.cli import run

GEOMETRY = ["plan", "stage=geometry3k"]


def test_a_plan_is_printed(capsys):
    assert run([*GEOMETRY, "model=qwen2_5_vl_7b", "launch=node8", "--image", "640x480"]) == 0

    page = capsys.readouterr().out
    assert "8.29 B parameters" in page
    assert "8 x H100 SXM, strategy zero2, sharing packed" in page
    for phase in ("rollout: decode", "forward", "backward", "optimizer"):
        assert phase in page


def test_a_plan_is_one_object_by_stage(capsys):
    assert run([*GEOMETRY, "model=qwen2_5_vl_7b", "launch=node8", "--json"]) == 0

    (plan,) = json.loads(capsys.readouterr().out).values()
    assert plan["step_s"] == pytest.approx(sum(p["seconds"] for p in plan["phases"].values()))
    assert plan["memory"]["peak"] == max(plan["memory"]["peaks"].values())
    assert plan["tokens"]["pass"] < plan["tokens"]["pass_without_sharing"]


def test_every_stage_of_a_curriculum_has_a_plan(capsys):
    assert run(["plan", "curriculum=quickstart", "--gpu", "h100", "--json"]) == 0

    plans = json.loads(capsys.readouterr().out)
    assert list(plans) == ["sft", "grpo"]
    assert "rollout: decode" in plans["grpo"]["phases"]
    assert "rollout: decode" not in plans["sft"]["phases"]


def test_what_does_not_fit_says_what_would(capsys):
    assert run([*GEOMETRY, "model=qwen2_5_vl_7b"]) == 0

    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("does not fit: ")
    assert "what fits: launch.processes=" in last


def test_what_is_advised_fits_when_it_is_typed(capsys):
    run([*GEOMETRY, "model=qwen2_5_vl_7b", "--json"])
    change = json.loads(capsys.readouterr().out)["geometry3k"]["change"]

    assert run([*GEOMETRY, "model=qwen2_5_vl_7b", *change.split(), "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["geometry3k"]["fits"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "3y4"], "--image: '3y4' is no size; write it like 640x480"),
        (["--image", "0x4"], "--image: '0x4' is no size; write it like 640x480"),
        (["--video", "3x4"], "--video: '3x4' is no size; write it like 640x480x10 (seconds)"),
        (["--audio", "3"], "--audio: qwen2_5_vl reads no sounds"),
        (["model.path=a/b"], "model.path: the sizes of 'a/b' are not known"),
        (["model.freeze=[nothing]"], "model.freeze: 'nothing' matches no parameter"),
        (["launch=node8", "--gpu", "cpu"], "has no link to others; name a GPU: --gpu h100"),
        (["--gpu", "abacus"], "'abacus'"),
        (["optim.lrr=1"], "optim.lrr"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
    assert run([*GEOMETRY, *arguments]) == 2

    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_plan_never_loads_torch():
    script = (
        "import sys; from mmrl.cli import run; "
        "run(['plan', 'stage=geometry3k', '--json']); "
        "sys.exit(sum(name in sys.modules for name in ('torch', 'transformers', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert done.stderr == b""
    assert done.returncode == 0
