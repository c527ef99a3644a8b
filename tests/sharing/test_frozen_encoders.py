"""Where encoders are frozen their features are computed once and change no number; where they learn
nothing is kept.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mmrl.batch import collate
from mmrl.config.schema import MediaConfig, ModelConfig, RolloutConfig
from mmrl.engines.hf import sample
from mmrl.families import FAMILIES
from mmrl.model import load_policy
from mmrl.policy import completion_logprobs
from mmrl.prompt import Prompts
from mmrl.sharing.features import encoder_parameters, learns_to_encode
from mmrl.sharing.setup import set_up_sharing

QUESTIONS = {
    "text": ("how many?",),
    "two_images": ("image:a.png", "and", "image:b.png", "which?"),
    "video": ("video:a.mp4", "what moves in the clip?"),
    "image_and_video": ("image:b.png", "video:a.mp4", "same?"),
    "two_audios": ("audio:a.wav", "then", "audio:b.wav", "which is higher?"),
    "mixed": ("image:a.png", "video:b.mp4", "audio:b.wav", "all?"),
}


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request, ask) -> SimpleNamespace:
    config = ModelConfig.model_validate(
        {"family": request.param, "tiny": request.param, "device": "cpu"}
    )
    policy = load_policy(config, seed=0)
    rows = [ask(*parts, row_id=row_id) for row_id, parts in QUESTIONS.items()]
    kept = [row for row in rows if {m.kind for m in row.media} <= policy.family.media]
    return SimpleNamespace(config=config, policy=policy, rows=kept)


def _calls(policy) -> list[str]:
    """Every run of an encoder's outermost module from now on."""
    names = {name.split(".")[0] for name, _ in encoder_parameters(policy.model)}
    names = {
        ".".join(name.split(".")[: 2 if names == {"model"} else 1])
        for name, _ in encoder_parameters(policy.model)
    }
    calls: list[str] = []
    for name, module in policy.model.named_modules():
        if name in names:
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    return calls


def test_features_give_the_same_logprobs_and_the_decoder_the_same_gradient(family):
    policy = family.policy
    for _, parameter in encoder_parameters(policy.model):
        parameter.requires_grad_(False)
    plain = Prompts(policy=policy, media=MediaConfig(video_fps=4))
    given = Prompts(policy=policy, media=MediaConfig(video_fps=4))
    sharing = set_up_sharing(
        [policy], family.config, family.rows, given, chosen=None, warn=pytest.fail
    )
    assert sharing == "packed"
    assert given.encoders is not None
    found = {}
    for name, prompts in (("plain", plain), ("given", given)):
        prompts_B = [prompts(row) for row in family.rows for _ in range(2)]
        completions = [(35, 36, 37 + n) for n in range(len(prompts_B))]
        for kind in ("none", "encoder", "packed"):
            batch = collate(prompts_B, completions, sharing=kind, pad_id=policy.pad_id)
            assert bool(batch.media) == (name == "plain")
            policy.model.zero_grad()
            logprobs_BC, _ = completion_logprobs(policy, batch)
            logprobs_BC.sum().backward()
            gradient = [p.grad.flatten() for p in policy.model.parameters() if p.requires_grad]
            found[name, kind] = logprobs_BC.detach(), torch.cat(gradient)
    expected = found["plain", "none"]
    for ours in found.values():
        torch.testing.assert_close(ours[0], expected[0], atol=1e-5, rtol=0)
        assert (ours[1] - expected[1]).norm() < 1e-4 * expected[1].norm()


def test_sampling_from_features_is_sampling_from_media(family):
    policy = family.policy
    for _, parameter in encoder_parameters(policy.model):
        parameter.requires_grad_(False)
    plain = Prompts(policy=policy, media=MediaConfig(video_fps=4))
    given = Prompts(policy=policy, media=MediaConfig(video_fps=4))
    set_up_sharing([policy], family.config, family.rows, given, chosen="packed", warn=pytest.fail)
    config = RolloutConfig(max_new_tokens=6)
    found = [
        sample(policy, [prompts(row) for row in family.rows], config, group_size=2, seed=1)
        for prompts in (plain, given)
    ]
    assert [[c.ids for c in group] for group in found[0]] == [
        [c.ids for c in group] for group in found[1]
    ]


def test_a_frozen_encoder_runs_once_however_often_its_row_comes(ask):
    config = ModelConfig(
        family="qwen2_5_omni", tiny="qwen2_5_omni", device="cpu", freeze=("visual", "audio_tower")
    )
    policy = load_policy(config, seed=0)
    assert not learns_to_encode(policy.model)
    rows = [ask("image:a.png", "?", row_id="1"), ask("audio:a.wav", "?", row_id="2")]
    prompts = Prompts(policy=policy, media=MediaConfig())
    set_up_sharing([policy], config, rows, prompts, chosen=None, warn=pytest.fail)
    calls = _calls(policy)
    for _ in range(3):
        prompts_P = [prompts(row) for row in rows]
        sample(policy, prompts_P, RolloutConfig(max_new_tokens=3), group_size=4, seed=0)
        batch = collate(
            [p for p in prompts_P for _ in range(4)],
            [(35, 36)] * 8,
            sharing="packed",
            pad_id=policy.pad_id,
        )
        completion_logprobs(policy, batch)[0].sum().backward()
    assert sorted(calls) == ["audio_tower", "visual"]


def test_an_encoder_that_learns_runs_once_per_prompt_and_pass(ask):
    config = ModelConfig(family="qwen2_5_omni", tiny="qwen2_5_omni", device="cpu")
    policy = load_policy(config, seed=0)
    rows = [ask("image:a.png", "?", row_id="1"), ask("audio:a.wav", "?", row_id="2")]
    prompts = Prompts(policy=policy, media=MediaConfig())
    set_up_sharing([policy], config, rows, prompts, chosen=None, warn=pytest.fail)
    assert prompts.encoders is None
    prompts_P = [prompts(row) for row in rows]
    calls = _calls(policy)
    sample(policy, prompts_P, RolloutConfig(max_new_tokens=3), group_size=4, seed=0)
    assert sorted(calls) == ["audio_tower", "visual"]
    batch = collate(
        [p for p in prompts_P for _ in range(4)], [(35, 36)] * 8, sharing="packed", pad_id=0
    )
    completion_logprobs(policy, batch)[0].sum().backward()
    assert sorted(calls) == ["audio_tower"] * 2 + ["visual"] * 2


def test_features_on_disk_serve_the_next_run_and_not_another_tower(ask, tmp_path):
    config = ModelConfig(family="qwen2_5_vl", tiny="qwen2_5_vl", device="cpu", freeze=("visual",))
    rows = [ask("image:a.png", "?", row_id="1")]
    media = MediaConfig(cache_dir=tmp_path)
    found = []
    for seed in (0, 0, 1):
        policy = load_policy(config, seed=seed)
        prompts = Prompts(policy=policy, media=media)
        set_up_sharing([policy], config, rows, prompts, chosen="packed", warn=pytest.fail)
        calls = _calls(policy)
        features = prompts(rows[0]).features
        found.append((len(calls), features["tokens"]))
    assert [count for count, _ in found] == [1, 0, 1]
    assert torch.equal(found[0][1], found[1][1])
    assert not torch.allclose(found[0][1], found[2][1])
