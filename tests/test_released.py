"""Exported weights have the names and the configuration of released checkpoints, and load by them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mmrl.config.schema import ModelConfig
from mmrl.model import load_policy, save_policy
from mmrl.released import release

RELEASED = {
    "qwen2_audio": "language_model.model.layers.0.self_attn.q_proj.weight",
    "llava_onevision": "vision_tower.vision_model.embeddings.patch_embedding.weight",
    "qwen2_5_omni": "thinker.model.layers.0.self_attn.q_proj.weight",
    "qwen2_5_vl": "model.layers.0.self_attn.q_proj.weight",
}
"""A name of each family's checkpoints on the hub, at a place where transformers writes another."""
IDS = torch.tensor([[5, 60, 70, 80]])


def _policy(family: str, **keys):
    keys = keys or {"tiny": family}
    policy = load_policy(ModelConfig.model_validate({"family": family, **keys}), seed=1)
    policy.model.eval()
    return policy


def _logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def _names(folder: Path) -> set[str]:
    found: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            found |= set(file.keys())
    return found


@pytest.mark.parametrize("family", ["qwen2_audio", "llava_onevision", "qwen2_5_omni"])
@pytest.mark.parametrize("shards", [False, True])
def test_weights_are_found_under_the_names_of_the_hub(family, shards, tmp_path):
    import transformers

    policy = _policy(family)
    save_policy(policy, tmp_path)
    if shards:
        (tmp_path / "model.safetensors").unlink()
        policy.model.save_pretrained(tmp_path, max_shard_size="1MB")
    release(tmp_path, policy.family, source=None)
    assert RELEASED[family] in _names(tmp_path)
    assert not list(tmp_path.glob("*.part"))
    index = tmp_path / "model.safetensors.index.json"
    assert index.is_file() == shards
    if shards:
        assert set(json.loads(index.read_text())["weight_map"]) == _names(tmp_path)

    build = getattr(transformers, policy.family.model_class)
    found, said = build.from_pretrained(tmp_path, dtype=torch.float32, output_loading_info=True)
    assert not any(said.values()), said
    assert torch.equal(_logits(found), _logits(policy.model))


def test_families_whose_names_are_those_of_the_hub_are_left_as_they_are(tmp_path):
    policy = _policy("qwen2_5_vl")
    save_policy(policy, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert release(tmp_path, policy.family, source=None) is None
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert RELEASED["qwen2_5_vl"] in _names(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_an_omni_without_a_voice_loads_whole_and_cannot_speak(tmp_path):
    from transformers import Qwen2_5OmniForConditionalGeneration

    policy = _policy("qwen2_5_omni")
    save_policy(policy, tmp_path)
    note = release(tmp_path, policy.family, source=None)
    assert note is not None
    assert "Without a voice" in note
    whole = Qwen2_5OmniForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.equal(_logits(whole.thinker), _logits(policy.model))
    assert not whole.has_talker
    again = _policy("qwen2_5_omni", path=str(tmp_path))
    assert torch.equal(_logits(again.model), _logits(policy.model))


@pytest.fixture(scope="module")
def speaking(tmp_path_factory) -> Path:
    """A whole tiny Qwen2.5-Omni as it would be downloaded: thinker, talker and token2wav."""
    from transformers import Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration

    folder = tmp_path_factory.mktemp("omni")
    thinker = _policy("qwen2_5_omni")
    talker = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "embedding_size": 128,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10.0, "mrope_section": [4, 2, 2]},
    }
    dit = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "ff_mult": 1,
        "emb_dim": 8,
        "head_dim": 8,
        "num_embeds": 10,
        "mel_dim": 4,
        "enc_dim": 8,
        "enc_emb_dim": 8,
        "enc_channels": [8, 8, 8, 8, 24],
        "enc_attention_channels": 4,
        "enc_res2net_scale": 2,
        "enc_se_channels": 4,
        "look_ahead_layers": [0],
        "look_backward_layers": [0],
    }
    sound = {
        "mel_dim": 4,
        "upsample_initial_channel": 16,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
        "upsample_rates": [2],
        "upsample_kernel_sizes": [4],
    }
    config = Qwen2_5OmniConfig(
        thinker_config=thinker.model.config.to_dict(),
        talker_config=talker,
        token2wav_config={"dit_config": dit, "bigvgan_config": sound},
    )
    model = Qwen2_5OmniForConditionalGeneration(config)
    model.save_pretrained(folder, max_shard_size="2MB")
    thinker.processor.save_pretrained(folder)
    torch.save({"Ann": {"bos_token": 3, "cond": torch.zeros(2)}}, folder / "spk_dict.pt")
    return folder


@pytest.mark.filterwarnings("ignore")
def test_a_trained_thinker_gets_its_voice_back_unchanged(speaking, tmp_path):
    from transformers import Qwen2_5OmniForConditionalGeneration

    policy = _policy("qwen2_5_omni", path=str(speaking))
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter += 0.01 * torch.randn(parameter.shape)
    save_policy(policy, tmp_path)
    note = release(tmp_path, policy.family, source=speaking)
    assert note is not None
    assert "is that of the checkpoint that training began with" in note
    assert _names(tmp_path) - {"thinker.lm_head.weight"} == _names(speaking) - {
        "thinker.lm_head.weight"
    }

    before = Qwen2_5OmniForConditionalGeneration.from_pretrained(speaking, dtype=torch.float32)
    after = Qwen2_5OmniForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    assert after.has_talker
    assert set(after.speaker_map) == {"Ann"}
    assert torch.equal(_logits(after.thinker), _logits(policy.model))
    assert not torch.equal(_logits(after.thinker), _logits(before.thinker))
    weights = _voice(speaking)
    assert weights
    assert all(torch.equal(weight, weights[name]) for name, weight in _voice(tmp_path).items())
    assert weights.keys() == _voice(tmp_path).keys()


def _voice(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in folder.glob("*.safetensors"):
        found |= load_file(path)
    return {name: weight for name, weight in found.items() if not name.startswith("thinker.")}
