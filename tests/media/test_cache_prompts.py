"""Every prompt is decoded and processed once: in a step, in a run, and with a folder ever."""

from __future__ import annotations

import collections
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import mmrl.recipe
from mmrl.config.loader import load_run
from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.curriculum.runner import train
from mmrl.errors import DataError
from mmrl.media.writers import write_png
from mmrl.model import Policy, load_policy, save_policy
from mmrl.prompt import Prompts
from mmrl.screen import Screen

FAMILIES = ("qwen2_5_omni", "qwen3_vl", "llava_onevision")
MIXES = {
    "text": ("how many?",),
    "image": ("image:a.png", "what?"),
    "images": ("image:a.png", "image:b.png", "which?"),
    "video": ("video:a.mp4", "what moves?"),
    "both": ("image:a.png", "video:b.mp4", "all?"),
}


@pytest.fixture(scope="module")
def omni() -> Policy:
    return load_policy(ModelConfig(family="qwen2_5_omni", tiny="qwen2_5_omni"), seed=0)


@pytest.fixture
def calls(monkeypatch) -> collections.Counter[str]:
    """How often the real decoders and processors run."""
    found: collections.Counter[str] = collections.Counter()

    def count(name: str):
        real = getattr(mmrl.recipe, name)

        def counted(*arguments, **named):
            found[name] += 1
            return real(*arguments, **named)

        monkeypatch.setattr(mmrl.recipe, name, counted)

    for name in ("decode_image", "decode_video", "decode_audio", "process"):
        count(name)
    return found


def _on_disk(policy: Policy, folder: Path, **changes) -> Prompts:
    media = MediaConfig(video_fps=4, cache_mb=0, cache_dir=folder, **changes)
    return Prompts(policy=policy, media=media)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prompt_from_disk_is_the_prompt_that_was_processed(name, ask, tmp_path, calls):
    policy = load_policy(ModelConfig.model_validate({"family": name, "tiny": name}), seed=0)
    rows = [ask(*parts, row_id=row_id) for row_id, parts in MIXES.items()]
    plain = Prompts(policy=policy, media=MediaConfig(video_fps=4))
    first, second = _on_disk(policy, tmp_path), _on_disk(policy, tmp_path)
    expected, _, found = ([each(row) for row in rows] for each in (plain, first, second))
    assert calls["process"] == 2 * len(rows)
    assert (second.processed, second.decoded, second.from_disk) == (0, 0, len(rows))
    for one, other in zip(expected, found, strict=True):
        assert (one.ids, one.row, one.media_key) == (other.ids, other.row, other.media_key)
        assert torch.equal(one.positions_RT, other.positions_RT)
        assert set(one.media) == set(other.media)
        for key, tensor in one.media.items():
            assert tensor.dtype == other.media[key].dtype
            assert torch.equal(tensor, other.media[key]), key


def test_the_same_model_loaded_from_a_checkpoint_finds_what_it_left(omni, ask, tmp_path):
    save_policy(omni, tmp_path / "saved")
    again = load_policy(ModelConfig(family="qwen2_5_omni", path=str(tmp_path / "saved")), seed=1)
    row = ask(*MIXES["both"])
    _on_disk(omni, tmp_path / "cache")(row)
    prompts = _on_disk(again, tmp_path / "cache")
    prompts(row)
    assert (prompts.processed, prompts.from_disk) == (0, 1)


def test_whatever_shapes_a_prompt_is_part_of_its_key(omni, ask, tmp_path, media_folder):
    base = ask(*MIXES["images"])
    cache = tmp_path / "cache"
    _on_disk(omni, cache)(base)

    def finds(prompts: Prompts, row) -> bool:
        prompts(row)
        return prompts.from_disk == 1

    assert finds(_on_disk(omni, cache), base)
    assert finds(_on_disk(omni, cache), ask(*MIXES["images"], row_id="another", answer="4"))
    assert finds(_on_disk(omni, cache, disk_cache_mb=7), base)
    assert not finds(_on_disk(omni, cache, image_max_pixels=50_000), base)
    assert not finds(_on_disk(omni, cache), ask(*MIXES["images"][:2], "Which?"))
    assert not finds(_on_disk(omni, cache), ask("image:b.png", "image:a.png", "which?"))
    told = _on_disk(omni, cache)
    told.system = "be brief"
    assert not finds(told, base)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes((media_folder / name).read_bytes())
    assert finds(_on_disk(omni, cache), ask(*MIXES["images"], folder=tmp_path))
    write_png(tmp_path / "b.png", np.zeros((84, 56, 3), dtype=np.uint8))
    assert not finds(_on_disk(omni, cache), ask(*MIXES["images"], folder=tmp_path))
    other = load_policy(ModelConfig(family="qwen2_5_omni", tiny="qwen2_5_omni"), seed=0)
    other.processor.image_processor.image_mean = [0.5, 0.5, 0.5]
    assert not finds(_on_disk(other, cache), base)


def test_a_damaged_entry_is_processed_again_with_a_warning(omni, ask, tmp_path):
    row, lines = ask(*MIXES["image"]), []
    expected = _on_disk(omni, tmp_path)(row)
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    prompts = Prompts(
        policy=omni, media=MediaConfig(video_fps=4, cache_dir=tmp_path), warn=lines.append
    )
    assert torch.equal(prompts(row).media["pixel_values"], expected.media["pixel_values"])
    assert (prompts.processed, len(lines)) == (1, 1)
    assert _on_disk(omni, tmp_path)(row).ids == expected.ids


def test_a_medium_that_is_gone_is_an_error_though_its_pixels_are_kept(omni, ask, tmp_path):
    write_png(tmp_path / "a.png", np.zeros((56, 56, 3), dtype=np.uint8))
    row = ask("image:a.png", "?", row_id="lost", folder=tmp_path)
    _on_disk(omni, tmp_path / "cache")(row)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"row lost: image .*no such file"):
        _on_disk(omni, tmp_path / "cache")(row)


def test_a_step_builds_no_prompt_twice_though_nothing_is_remembered(omni, ask, calls):
    rows = [ask(*MIXES[name], row_id=name) for name in ("image", "both", "text")]
    prompts = Prompts(policy=omni, media=MediaConfig(video_fps=4, cache_mb=0))
    for _ in range(2):
        prompts.begin_step()
        for row in (*rows, *rows):
            prompts(row)
        other = dataclasses.replace(rows[0], answer="7")
        assert prompts(other).row.answer == "7"
        assert _needed(prompts.end_step()) == (3, 3)
    assert calls == {"decode_image": 4, "decode_video": 2, "process": 6}
    assert (prompts.decoded, prompts.processed, prompts.from_memory) == (6, 6, 8)
    prompts(rows[0])
    assert _needed(prompts.end_step()) == (0, 0)


def _needed(metrics: dict) -> tuple[float, float]:
    return metrics["media/decoded"], metrics["media/processed"]


STAGE = """
kind: grpo
model: {family: qwen2_5_omni, tiny: qwen2_5_omni, device: cpu, threads: 1}
media: {video_fps: 4, cache_mb: %(cache_mb)s}
data: {train: {toy: {path: %(rows)s}}}
optim: {steps: 3, lr: 1.0e-3}
rollout: {prompts_per_step: 4, group_size: 8, max_new_tokens: 2}
algo: {loss: grpo, minibatches: 2, epochs: 2, kl_weight: 0.01}
rewards: {terms: {accuracy: {}, length: {name: think_answer}}}
"""
PARTS = (["image:a.png"], ["video:a.mp4"], ["audio:a.wav"], ["image:b.png", "audio:b.wav"])


@pytest.fixture
def go(tmp_path, media_folder):
    """Train 3 steps on 4 prompts in groups of 8, 4 optimizer steps each."""

    def go(name: str, *arguments: str, cache_mb: int = 512) -> list[dict]:
        lines = []
        for place, texts in enumerate(PARTS):
            media = [text.split(":") for text in texts]
            content = [{"type": kind, kind: str(media_folder / file)} for kind, file in media]
            lines.append(
                {
                    "id": f"r{place}",
                    "source": "toy",
                    "prompt": [{"role": "user", "content": content}],
                    "answer": "3",
                    "verifier": "exact",
                }
            )
        rows = tmp_path / "rows.jsonl"
        rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
        stage = tmp_path / "configs" / "stage" / "many.yaml"
        stage.parent.mkdir(parents=True, exist_ok=True)
        stage.write_text(STAGE % {"rows": rows, "cache_mb": cache_mb})
        run = load_run(["stage=many", f"out={tmp_path / name}", *arguments], tmp_path)
        return _lines(train(run, Screen(console=Console(file=io.StringIO()))) / "metrics.jsonl")

    return go


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


ONCE = {"decode_image": 2, "decode_video": 1, "decode_audio": 2, "process": 4}


def _metrics(lines: list[dict]) -> list[tuple[float, float]]:
    return [_needed(line) for line in lines if line["step"]]


def test_training_decodes_and_processes_each_prompt_once(go, calls, tmp_path):
    """Eight completions, two epochs, two minibatches and a reference, over three steps."""
    lines = go("run")
    assert calls == ONCE
    assert _metrics(lines) == [(5, 4)] * 3
    last = _lines(tmp_path / "run" / "timings.jsonl")[-1]
    assert (last["media_decoded"], last["media_processed"]) == (5, 4)


def test_without_memory_each_prompt_is_decoded_once_per_step(go, calls, tmp_path):
    """And the metrics are the same bytes: what was remembered does not show in them."""
    forgetful = go("forgetful", cache_mb=0)
    timings = [
        (line["media_decoded"], line["media_processed"])
        for line in _lines(tmp_path / "forgetful" / "timings.jsonl")
        if "media_decoded" in line
    ]
    steps = np.diff(timings, axis=0)
    assert steps.tolist() == [[5, 4]] * 2
    assert timings[-1] == (calls.total() - calls["process"], calls["process"])
    assert forgetful == go("remembering")


def test_with_a_folder_a_second_run_decodes_nothing(go, calls, tmp_path):
    folder = f"media.cache_dir={tmp_path / 'cache'}"
    first = go("first", folder, cache_mb=0)
    assert calls == ONCE
    calls.clear()
    assert go("second", folder, cache_mb=0) == first
    assert calls == {}
    last = _lines(tmp_path / "second" / "timings.jsonl")[-1]
    assert (last["media_decoded"], last["media_processed"]) == (0, 0)
    assert last["media_from_disk"] >= 12
