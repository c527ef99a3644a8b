"""Stages with help train, show what happened, and go on to the same bytes after a stop."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

import mmrl.trainer
from mmrl.config.loader import load_run
from mmrl.config.yaml12 import flow
from mmrl.curriculum.runner import train
from mmrl.screen import Screen

REWARD = '''
"""Right by chance, so that groups of a model that knows nothing differ."""
import hashlib
from mmrl.reward import verifier

@verifier
def chance(*, share: float = 0.2):
    """1.0 for the row's answer, and for a share of all other texts."""
    def judge(sample):
        if sample.answer == sample.row.answer:
            return 1.0
        digest = hashlib.blake2b(f"{sample.row.id} {sample.text}".encode()).digest()
        return float(digest[0] < 256 * share)
    return judge
'''
HINTS = {"knowledge": ["a", "b"], "planning": ["c"], "solution": ["d"]}
BASE = {
    "kind": "grpo",
    "model": {"family": "qwen2_5_omni", "tiny": "qwen2_5_omni", "device": "cpu", "threads": 1},
    "checkpoint": {"every": 1},
    "media": {"video_fps": 4},
    "rollout": {"max_new_tokens": 16, "prompts_per_step": 3, "group_size": 4},
    "optim": {"steps": 3, "lr": 1.0e-3},
}
STAGES = {
    "ghpo": {"guidance": {"kind": "ghpo", "cold_steps": 1}},
    "scaffold": {"guidance": {"kind": "scaf_grpo", "exempt": 0.3}},
    "keye": {
        "guidance": {"kind": "keye", "hints": "levels"},
        "filter": {"kind": "spread", "max_draws": 2},
    },
    "prefix": {"guidance": {"kind": "prefix", "share": {0: 0.5, 0.5: 0.25}}},
    "luffy": {"guidance": {"kind": "luffy"}, "algo": {"advantage": "dr_grpo", "trace_shape": 0.2}},
    "ampo": {"guidance": {"kind": "ampo"}, "algo": {"advantage": "dr_grpo"}},
    "contrast": {
        "contrast": {"group_size": 2},
        "rewards": {"terms": {"accuracy": {}, "order": {"name": "temporal_contrast"}}},
    },
    "reference": {
        "rewards": {"terms": {"accuracy": {}, "likely": {"name": "reference_probability"}}}
    },
    "autothink": {"thinking": {"kind": "autothink", "shorter": 0.05}},
    "budget": {"thinking": {"kind": "no_think"}, "rollout": {"budget": {0: 3, 0.5: 6}}},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory, media_folder) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("guided")
    (folder / "rewards").mkdir()
    (folder / "rewards/chance.py").write_text(REWARD)
    clip = {"type": "video", "video": str(media_folder / "b.mp4")}
    lines = [
        {
            "id": f"r{place}",
            "source": "toy",
            "prompt": [
                {
                    "role": "user",
                    "content": [
                        *([clip] if place < 2 else []),
                        {"type": "text", "text": f"{place}?"},
                    ],
                }
            ],
            "answer": str(place),
            "verifier": {"name": "chance", "params": {"share": 0.12}},
            "response": f"<answer>{place}</answer>",
            "extra": {
                "hints": HINTS,
                "levels": ["one", "two"],
                "traces": [f"<answer>{place}</answer>", "<answer>no</answer>"],
            },
        }
        for place in range(6)
    ]
    rows = media_folder / "guided.jsonl"
    for line in lines[:2]:
        line["prompt"][0]["content"][0]["video"] = "b.mp4"
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "configs/stage").mkdir(parents=True)
    for name, sections in STAGES.items():
        stage = {**BASE, **sections, "data": {"train": {"toy": {"path": str(rows)}}}}
        stage["rollout"] = {**BASE["rollout"], **sections.get("rollout", {})}
        (folder / f"configs/stage/{name}.yaml").write_text(flow(stage))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMRL_PROJECT", str(folder))
        yield folder


@pytest.fixture(scope="module")
def go(project: Path) -> Callable[..., Path]:
    def go(*arguments: str) -> Path:
        return train(load_run(arguments, project), Screen(console=Console(file=io.StringIO())))

    return go


class Killed(BaseException):
    """What the process dies of."""


def kill(go, count: int, *arguments: str) -> None:
    """Train, and die at the end of a step, before anything of it is saved."""
    original, calls = mmrl.trainer.keep_count, 0

    def dying(*given):
        nonlocal calls
        calls += 1
        original(*given)
        if calls == count:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmrl.trainer, "keep_count", dying)
        with pytest.raises(Killed):
            go(*arguments)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_with_help_goes_on_to_the_same_bytes(go, tmp_path, name):
    whole = go(f"stage={name}", f"out={tmp_path / 'whole'}")
    out = tmp_path / "cut"
    kill(go, 2, f"stage={name}", f"out={out}")
    go(f"stage={name}", "resume=auto", f"out={out}")
    for file in ("metrics.jsonl", "rollouts.jsonl"):
        assert (whole / file).read_bytes() == (out / file).read_bytes()
    final = f"checkpoints/{name.rpartition('/')[2]}-000003-final"
    for file in ("model.safetensors", "state.json"):
        assert (whole / final / file).read_bytes() == (out / final / file).read_bytes()
    _shows(name, _lines(whole / "metrics.jsonl"), _lines(whole / "rollouts.jsonl"))


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _shows(name: str, metrics: list[dict], rollouts: list[dict]) -> None:
    """What the stage is for can be seen in its metrics and its rollouts."""
    steps = [line for line in metrics if "policy/loss" in line]
    aids = [rollout.get("aid") for rollout in rollouts]
    assert [line["step"] for line in steps] == [1, 2, 3]
    tokens = sum(rollout["length"] for rollout in rollouts)
    assert steps[-1]["tokens"] == tokens
    if name in ("scaffold", "keye", "prefix"):
        assert all(s["guidance/hinted_groups"] <= s["guidance/failing_groups"] for s in steps)
    if name in ("ghpo", "keye", "scaffold", "prefix"):
        assert sum(s["guidance/hinted_groups"] for s in steps) > 0
        assert {"prefix" if name == "prefix" else "hint"} < {*aids}
        assert any(rollout.get("spent") for rollout in rollouts)
    if name == "ghpo":
        assert steps[0]["guidance/hinted_groups"] == 3
    if name == "scaffold":
        assert steps[0]["guidance/hinted_groups"] == 0
    if name in ("luffy", "ampo"):
        assert "trace" in aids
    if name == "luffy":
        assert [s["guidance/traced_groups"] for s in steps] == [3, 3, 3]
    if name == "contrast":
        assert aids.count("shuffled") == 2 * sum(s.get("contrast/groups", 0) for s in steps) > 0
    if name == "reference":
        assert all(0 < s["reference/baseline"] < 1 for s in steps)
    if name == "autothink":
        assert all(s["thinking/share"] == 1 for s in steps)
    if name == "budget":
        assert [
            max(r["length"] for r in rollouts if r["step"] == n) <= m
            for n, m in ((1, 3), (2, 3), (3, 6))
        ] == [True] * 3
        assert any(r["length"] > 3 for r in rollouts if r["step"] == 3)
