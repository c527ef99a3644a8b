"""A run whose media are decoded by workers writes the same bytes as one that decodes them itself."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

import mmrl.trainer
from mmrl.config.loader import load_run
from mmrl.curriculum.runner import train
from mmrl.screen import Screen

COMMON = """
model: {family: qwen2_5_omni, tiny: qwen2_5_omni, device: cpu, threads: 1}
media: {video_fps: 4, cache_mb: 0}
data: {train: {toy: {path: %(rows)s}}, heldout: {toy: {path: %(rows)s, limit: 3}}}
eval: {every: 2, batch_size: 2}
checkpoint: {every: 1}
"""
COLD = """
kind: sft
optim: {steps: 2, lr: 1.0e-3, batch_size: 2}
rollout: {max_new_tokens: 2}
"""
WARM = """
kind: grpo
optim: {steps: 3, lr: 1.0e-3}
rollout: {prompts_per_step: 2, group_size: 4, max_new_tokens: 3}
algo: {loss: grpo, kl_weight: 0.01}
filter: {kind: spread, max_draws: 2}
rewards: {terms: {accuracy: {}, length: {name: think_answer}}}
"""
PARTS = (
    ["image:a.png"],
    ["video:a.mp4"],
    ["audio:a.wav"],
    ["image:b.png", "audio:b.wav"],
    ["video:b.mp4"],
    [],
    ["audio:b.wav"],
)


class Killed(BaseException):
    """As SIGKILL: nobody is to catch it."""


@pytest.fixture(scope="module")
def project(tmp_path_factory, media_folder) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "rows.jsonl").write_text("".join(_line(place, media_folder) for place in range(7)))
    for name, text in (("cold", COLD), ("warm", WARM)):
        file = folder / "configs" / "stage" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(COMMON % {"rows": folder / "rows.jsonl"} + text)
    (folder / "configs" / "curriculum").mkdir()
    (folder / "configs" / "curriculum" / "both.yaml").write_text(
        "stages: {cold: {stage: cold}, warm: {stage: warm}}\n"
    )
    return folder


def _line(place: int, media: Path) -> str:
    pairs = [part.split(":") for part in PARTS[place]]
    content: list[dict] = [{"type": kind, kind: str(media / file)} for kind, file in pairs]
    row = {
        "id": f"r{place}",
        "source": "toy",
        "prompt": [{"role": "user", "content": [*content, {"type": "text", "text": "how many?"}]}],
        "answer": "3",
        "verifier": "exact",
        "response": "so 3",
    }
    return json.dumps(row) + "\n"


@pytest.fixture(scope="module")
def go(project):
    def go(*arguments: str) -> Path:
        run = load_run([*arguments], project)
        return train(run, Screen(console=Console(file=io.StringIO())))

    return go


@pytest.fixture(scope="module")
def alone(go, tmp_path_factory) -> Path:
    """Both stages, in the training process alone."""
    return go("curriculum=both", f"out={tmp_path_factory.mktemp('alone') / 'run'}")


WORKER = "stages.warm.media.workers=1"


def _same(one: Path, other: Path) -> None:
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def _timings(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "timings.jsonl").read_text().splitlines()]
    return [line for line in lines if "media_ahead" in line]


def test_a_run_with_workers_writes_the_same_bytes(go, alone, tmp_path):
    out = go("curriculum=both", f"out={tmp_path / 'run'}", "stages.cold.media.workers=1", WORKER)
    _same(alone, out)
    assert len((out / "rollouts.jsonl").read_text().splitlines()) >= 3 * 2 * 4
    plain, ahead = _timings(alone), _timings(out)
    assert [line["media_ahead"] for line in plain] == [0] * 5
    assert ahead[-1]["media_ahead"] > 0
    # what was guessed and not asked for was decoded as well
    assert ahead[-1]["media_decoded"] >= plain[-1]["media_decoded"]


def test_a_run_with_workers_goes_on_where_it_was_killed(go, alone, tmp_path):
    out, real, calls = tmp_path / "run", mmrl.trainer.mean_metrics, []

    def dying(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise Killed
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmrl.trainer, "mean_metrics", dying)
        with pytest.raises(Killed):
            go("curriculum=both", f"out={out}", WORKER)
    go("curriculum=both", "resume=auto", f"out={out}", WORKER)
    _same(alone, out)
