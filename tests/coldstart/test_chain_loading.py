"""Chains from configs/cold_start/: what is shipped, and what is refused before anyone is asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mmrl.coldstart.loading import load_chain
from mmrl.config.files import options
from mmrl.config.overrides import parse_overrides
from mmrl.errors import ConfigError
from mmrl.project import default_project

ROOT = default_project()
NAMES = [name for name in options(ROOT, "cold_start") if not name.endswith("base")]


def load(name: str, *arguments: str):
    return load_chain(name, parse_overrides(arguments), ROOT)


def test_every_published_pipeline_is_there():
    assert {name.partition("/")[0] for name in NAMES} >= {
        "vision_r1",
        "openvlthinker",
        "vlaa_thinking",
        "keye",
        "rl_with_cold_start",
        "ton",
    }
    assert len([name for name in NAMES if name.startswith("rl_with_cold_start/")]) == 4


@pytest.mark.parametrize("name", options(ROOT, "cold_start"))
def test_every_chain_opens_with_its_command_and_loads(name):
    text = (ROOT / "configs" / "cold_start" / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# mmrl data build cold_start chain=")
    assert text.count("\n") < 100
    if name in NAMES:
        assert f"chain={name} " in text.splitlines()[0]
        assert load(name).steps


def test_published_constants():
    thinker = load("openvlthinker").steps
    assert (thinker["reason"].samples, thinker["verify"].keep) == (4, "shortest")
    assert load("vlaa_thinking").steps["rewritten_little"].max_word_change == 15
    assert load("ton").steps["thought_dropout"].p == 0.5
    assert load("keye").steps["tier"].reject == ("C",)


def test_the_command_line_changes_a_step_and_takes_one_away():
    chain = load("openvlthinker", "steps.reason.samples=8", "steps.cut_reflection=null", "seed=3")
    assert chain.steps["reason"].samples == 8
    assert "cut_reflection" not in chain.steps
    assert chain.config.seed == 3
    assert list(chain.steps)[:3] == ["caption", "reason", "verify"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["steps.reason.sampels=8"], "steps.reason.sampels: unknown key; did you mean"),
        (["teachers.text.per_minut=8"], "did you mean 'teachers.text.per_minute'?"),
        (["steps.reason.teacher=txt"], "there is no 'txt', did you mean 'text'?; there are:"),
        (["steps.reason.prompt=see {captoin}"], "no text 'captoin' here, did you mean 'caption'?"),
        (["steps.reason.prompt=see {caption.thougt}"], "did you mean 'thought'?"),
        (["steps.verify.keep=shotest"], "did you mean 'shortest'?"),
        (["steps.verify.kind=verfy"], "there is no step 'verfy', did you mean 'verify'?"),
        (["steps.verify=null"], "'reason' holds 4 samples; 'verify' or 'take' keeps one"),
        (["steps.response=null"], "none writes 'response'"),
        (["steps.reason.temperature=0"], "4 replies at temperature 0 are all the same"),
        (["concurency=3"], "concurency: unknown key; did you mean 'concurrency'?"),
        (["teachers.text.model=null"], "give either 'base_url' and 'model'"),
        (["steps.verify.min_score=2"], "steps.verify.min_score: must be at most 1, got 2"),
        (["keep=[captoin]"], "keep: there is no text 'captoin'"),
        (["steps.caption.into=question"], "'question' is the row's own"),
        (["steps.caption.into=a.b"], "'a.b' cannot be written"),
    ],
)
def test_mistakes_are_one_line_each_and_say_what_was_meant(arguments, message):
    with pytest.raises(ConfigError) as caught:
        load("openvlthinker", *arguments)
    assert any(message in line for line in str(caught.value).splitlines()), str(caught.value)


def test_an_unknown_chain_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'vision_r1'"):
        load("vision_r2")


def test_a_text_that_only_some_rows_get_is_refused():
    with pytest.raises(ConfigError, match=r"writes 'mended' for some rows only"):
        load("keye", "steps.mend.into=mended", "steps.mended_right=null")


def test_all_mistakes_are_told_together():
    with pytest.raises(ConfigError) as caught:
        load("ton", "steps.thought.x=1", "steps.thought_dropout.p=7", "y=1")
    assert len(str(caught.value).splitlines()) == 3


def test_a_rate_needs_a_verdict_before_it(make_chain):
    steps = {"response": {"kind": "compose", "text": "x"}}
    split = {"split_by_difficulty": {"pass_rate_below": 0.5}}
    with pytest.raises(ConfigError, match="no step before it is a 'verify'"):
        make_chain(steps | split)


def test_a_missing_key_is_named_before_anything_is_sent(run, serve, sums, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    steps = {"response": {"kind": "ask", "teacher": "t", "prompt": "x"}}
    server = serve()
    with pytest.raises(ConfigError, match=r"teachers\.t\.key_env: .*MY_KEY is not set"):
        run(steps, sums(1), server, teacher={"key_env": "MY_KEY"})
    assert server.count == 0


def test_loading_a_chain_loads_no_torch():
    code = (
        "import sys; from pathlib import Path; from mmrl.coldstart.loading import load_chain;"
        "import mmrl.coldstart.chain, mmrl.coldstart.output, mmrl.commands.cold_start;"
        "load_chain('keye', [], Path(sys.argv[1])); print('torch' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "False"
