"""Checkpoints hold all that the next step depends on, and a damaged one is never taken."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from mmrl.batch import collate
from mmrl.checkpoint import RunState, find_checkpoints, load_optimizer, save_checkpoint
from mmrl.config.schema import MediaConfig, ModelConfig, OptimConfig
from mmrl.model import Policy, load_policy
from mmrl.parts import rest_encoders
from mmrl.policy import completion_logprobs
from mmrl.prompt import Prompts
from mmrl.update import Optimizer, Scoring, update_from_responses

MODEL = ModelConfig(family="qwen2_5_omni", tiny="qwen2_5_omni", device="cpu")
SCORING = Scoring(temperature=1.0, max_length=64, micro_tokens=10_000, sharing="none")
OPTIM = OptimConfig(steps=10, lr=1e-2, weight_decay=0.1)
RESPONSE = (40, 50, 60)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(MODEL, seed=0)


@pytest.fixture(scope="module")
def prompts_B(policy, ask):
    prompts = Prompts(policy=policy, media=MediaConfig(video_fps=4))
    return [prompts(ask("image:a.png", "?", row_id="a")), prompts(ask("audio:a.wav", "?"))]


@pytest.fixture(scope="module")
def optimizer(policy, prompts_B) -> Optimizer:
    """An optimizer that has made two steps, and has therefore moments."""
    optimizer = Optimizer(config=OPTIM, policy=policy)
    for step in range(2):
        _step(policy, optimizer, prompts_B, step)
    return optimizer


@pytest.fixture(scope="module")
def saved(policy, optimizer, tmp_path_factory) -> Path:
    """A folder with one checkpoint."""
    parent = tmp_path_factory.mktemp("saved")
    save_checkpoint(parent, _state(2), policy, optimizer.adamw, keep=2)
    return parent


def _state(step: int, *, stage: str = "grpo", finished: bool = False, before: int = 0) -> RunState:
    return RunState(
        stage=stage,
        step=step,
        finished=finished,
        sampler={"epoch": 1, "position": 2},
        stop={},
        metrics_bytes=100 * (before + step),
        rollouts_bytes=7,
        tokens=3,
        rollouts=2,
        unjudged=1,
        sharing="none",
    )


def _step(policy: Policy, optimizer: Optimizer, prompts_B, step: int) -> dict[str, float]:
    return update_from_responses(policy, optimizer, prompts_B, [RESPONSE] * 2, SCORING, step=step)


def _names(parent: Path) -> list[str]:
    return sorted(folder.name for folder in parent.iterdir())


def test_weights_moments_and_the_next_step_are_the_same_bits(policy, optimizer, saved, prompts_B):
    [checkpoint], warnings = find_checkpoints(saved)
    assert not warnings
    assert checkpoint.state == _state(2)
    other = load_policy(MODEL, seed=9, weights=checkpoint.folder)
    again = Optimizer(config=OPTIM, policy=other)
    load_optimizer(checkpoint.folder, other, again.adamw)
    assert other.model.training == policy.model.training
    _same_weights(policy, other)
    kept = optimizer.adamw.state_dict()["state"]
    loaded = again.adamw.state_dict()["state"]
    assert kept.keys() == loaded.keys()
    assert len(kept) > 0
    for key, moments in kept.items():
        assert moments.keys() == loaded[key].keys()
        assert all(torch.equal(moments[name], loaded[key][name]) for name in moments)
    # both go on from copies, for the fixtures are shared
    third = load_policy(MODEL, seed=9, weights=checkpoint.folder)
    straight = Optimizer(config=OPTIM, policy=third)
    straight.adamw.load_state_dict(optimizer.adamw.state_dict())
    assert _step(other, again, prompts_B, 2) == _step(third, straight, prompts_B, 2)
    _same_weights(third, other)


def _same_weights(one: Policy, other: Policy) -> None:
    pairs = zip(one.model.state_dict().items(), other.model.state_dict().items(), strict=True)
    for (name, tensor), (other_name, other_tensor) in pairs:
        assert name == other_name
        assert torch.equal(tensor, other_tensor), name


def test_encoders_of_what_is_never_shown_have_no_moments(policy, ask, tmp_path):
    """A run on pictures leaves the audio tower alone, before and after it is resumed."""
    fresh = load_policy(MODEL, seed=0)
    prompts = Prompts(policy=fresh, media=MediaConfig())
    rest_encoders(fresh.model, {"image"})
    optimizer = Optimizer(config=OPTIM, policy=fresh)
    before = fresh.model.get_submodule("audio_tower").conv1.weight.clone()
    update_from_responses(
        fresh, optimizer, [prompts(ask("image:a.png", "?"))], [RESPONSE], SCORING, step=0
    )
    folder = save_checkpoint(tmp_path, _state(1), fresh, optimizer.adamw, keep=1)
    other = load_policy(MODEL, seed=0, weights=folder)
    rest_encoders(other.model, {"image"})
    again = Optimizer(config=OPTIM, policy=other)
    load_optimizer(folder, other, again.adamw)
    assert (
        len(again.adamw.state) == len(optimizer.adamw.state) < len(list(fresh.model.parameters()))
    )
    assert torch.equal(other.model.get_submodule("audio_tower").conv1.weight, before)


def test_frozen_parameters_stay_frozen_and_have_no_moments(tmp_path, ask):
    config = MODEL.model_copy(update={"freeze": ("^visual", "^audio_tower")})
    frozen = load_policy(config, seed=0)
    optimizer = Optimizer(config=OPTIM, policy=frozen)
    prompts = Prompts(policy=frozen, media=MediaConfig())
    prompt = prompts(ask("image:a.png", "?"))
    before = frozen.model.get_submodule("visual").patch_embed.proj.weight.clone()
    update_from_responses(frozen, optimizer, [prompt], [RESPONSE], SCORING, step=0)
    folder = save_checkpoint(tmp_path, _state(1), frozen, optimizer.adamw, keep=1)
    other = load_policy(config, seed=0, weights=folder)
    again = Optimizer(config=OPTIM, policy=other)
    load_optimizer(folder, other, again.adamw)
    assert torch.equal(other.model.get_submodule("visual").patch_embed.proj.weight, before)
    learning = [name for name, p in other.model.named_parameters() if p.requires_grad]
    assert learning
    assert not any(name.startswith(("visual", "audio_tower")) for name in learning)
    assert len(again.adamw.state) == len(learning)


def test_transformers_loads_a_checkpoint_as_it_is(policy, saved, prompts_B):
    from transformers import AutoProcessor, Qwen2_5OmniThinkerForConditionalGeneration

    folder = saved / "grpo-000002"
    model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    plain = dataclasses.replace(policy, model=model.train(), processor=processor)
    batch = collate(prompts_B, [RESPONSE] * 2, sharing="none", pad_id=policy.pad_id)
    with torch.no_grad():
        assert torch.equal(
            completion_logprobs(plain, batch)[0], completion_logprobs(policy, batch)[0]
        )
    row = prompts_B[0].row
    again = Prompts(policy=plain, media=MediaConfig(video_fps=4))(row)
    assert again.ids == prompts_B[0].ids
    assert torch.equal(again.media["pixel_values"], prompts_B[0].media["pixel_values"])
    assert processor.tokenizer.decode(RESPONSE) == policy.processor.tokenizer.decode(RESPONSE)


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def _flip_a_bit(folder: Path) -> None:
    path = folder / "optimizer.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _lose_a_file(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _lose_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _spoil_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"model.safetensors": {"by')


def _change_the_state(folder: Path) -> None:
    path = folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 3}))


def _half_written(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    folder.rename(folder.with_name(f".writing-{folder.name}"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncate, "model.safetensors is not what was written"),
        (_flip_a_bit, "optimizer.safetensors is not what was written"),
        (_lose_a_file, "tokenizer.json is missing"),
        (_lose_the_manifest, "it has no manifest.json"),
        (_spoil_the_manifest, "its manifest.json cannot be read"),
        (_change_the_state, "state.json is not what was written"),
        (_half_written, "it was being written when the run stopped"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    policy, optimizer, saved, tmp_path, damage, words
):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    last = save_checkpoint(tmp_path, _state(4), policy, optimizer.adamw, keep=2)
    assert [found.state.step for found in find_checkpoints(tmp_path)[0]] == [2, 4]
    damage(last)
    found, [warning] = find_checkpoints(tmp_path)
    assert [checkpoint.folder.name for checkpoint in found] == ["grpo-000002"]
    assert warning.startswith("ignoring checkpoint ")
    assert "grpo-000004" in warning
    assert words in warning


def test_only_the_oldest_of_its_own_stage_are_deleted_and_never_a_final_one(
    policy, optimizer, saved, tmp_path
):
    """Also where a stage's name begins as another's does, or holds letters of patterns."""

    def save(state: RunState, keep: int) -> None:
        save_checkpoint(tmp_path, state, policy, optimizer.adamw, keep=keep)

    whole = saved / "grpo-000002"
    for name in ("sft-000002", "sft-000004-final", "grpo-2-000001", "grpo-000001", "grp[o]-000001"):
        shutil.copytree(whole, tmp_path / name)
    save(_state(2), keep=2)
    assert "grpo-000001" in _names(tmp_path)
    save(_state(3), keep=2)
    others = ["grp[o]-000001", "grpo-2-000001", "sft-000002", "sft-000004-final"]
    assert _names(tmp_path) == sorted([*others, "grpo-000002", "grpo-000003"])
    save(_state(4, finished=True), keep=1)
    assert _names(tmp_path) == sorted([*others, "grpo-000003", "grpo-000004-final"])


def test_what_killed_writers_left_is_removed_by_the_next_one(policy, optimizer, tmp_path):
    for name in (".writing-grpo-000002", ".writing-grpo-000001"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    save_checkpoint(tmp_path, _state(2), policy, optimizer.adamw, keep=1)
    assert _names(tmp_path) == ["grpo-000002"]
    assert find_checkpoints(tmp_path)[1] == []


def test_the_checkpoint_that_was_written_last_comes_last(policy, optimizer, saved, tmp_path):
    """Not the one of the largest step: stages count their own."""
    for state in (
        _state(9, stage="zzz", finished=True),
        _state(2, stage="abc", before=9),
    ):
        save_checkpoint(tmp_path, state, policy, optimizer.adamw, keep=1)
    found, _ = find_checkpoints(tmp_path)
    assert [checkpoint.state.stage for checkpoint in found] == ["zzz", "abc"]


def test_a_folder_without_checkpoints_has_none(tmp_path):
    assert find_checkpoints(tmp_path / "nowhere") == ([], [])
    assert find_checkpoints(tmp_path) == ([], [])
