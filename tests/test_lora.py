"""Low-rank adapters: they alone learn, the reference is the model without them, and merged they say
the same.
"""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
import torch
from pydantic import ValidationError

from mmrl.batch import collate
from mmrl.config.schema import MediaConfig, ModelConfig, Sharing
from mmrl.errors import ConfigError, RunError
from mmrl.lora import adapter_off, is_adapter_weight
from mmrl.model import Policy, load_policy, save_policy, trainable_parameters
from mmrl.parts import parts_of
from mmrl.policy import completion_logprobs
from mmrl.prompt import Prompts
from mmrl.sharing.attention import use_packed_attention
from mmrl.sharing.choose import choose_sharing
from mmrl.weights import whole_weights

pytestmark = pytest.mark.skipif(find_spec("peft") is None, reason="needs peft")

FAMILY = "qwen2_5_vl"


def _config(name: str = FAMILY, **keys) -> ModelConfig:
    lora = {"rank": 4, **keys.pop("lora", {})}
    return ModelConfig.model_validate(
        {"family": name, "tiny": name, "device": "cpu", "threads": 1, "lora": lora, **keys}
    )


def _moved(policy: Policy) -> Policy:
    """The policy with an adapter that says something."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if is_adapter_weight(name):
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return policy


def _logprobs(policy: Policy, prompts, sharing: Sharing = "none", grad=False) -> torch.Tensor:
    completions = [(50, 60, 70), (80, 90)] * len(prompts)
    rows = [prompt for prompt in prompts for _ in range(2)]
    batch = collate(rows, completions, sharing=sharing, pad_id=policy.pad_id)
    with torch.set_grad_enabled(grad):
        return completion_logprobs(policy, batch)[0]


@pytest.fixture
def prompts(ask):
    plain = load_policy(_config().model_copy(update={"lora": None}), seed=0)
    make = Prompts(policy=plain, media=MediaConfig(video_fps=4))
    rows = [ask("how many?", row_id="t"), ask("image:a.png", "what?", row_id="i")]
    return [make(row) for row in [*rows, ask("video:a.mp4", "moves?", row_id="v")]]


@pytest.mark.parametrize(
    ("targets", "parts"),
    [
        ("language", {"language"}),
        ("language+connector", {"language", "connector"}),
        ("language+encoders", {"language", "vision"}),
        ("all", {"language", "vision", "connector"}),
        ((r"layers\.0\..*q_proj$",), {"language"}),
    ],
)
def test_only_adapters_of_the_chosen_parts_learn(targets, parts):
    policy = load_policy(_config(lora={"targets": targets}), seed=0)
    learning = trainable_parameters(policy.model)
    assert all(is_adapter_weight(name) for name in learning)
    found = parts_of(policy.model)
    assert {found[name.partition(".lora_")[0]] for name in learning} == parts


def test_sounds_have_a_tower_and_a_connector_of_their_own():
    policy = load_policy(_config("qwen2_5_omni", lora={"targets": "all"}), seed=0)
    parts = parts_of(policy.model)
    layers = {name.partition(".lora_")[0] for name in trainable_parameters(policy.model)}
    assert {parts[name] for name in layers} == {"language", "vision", "audio", "connector"}
    assert parts["audio_tower.proj"] == "connector"
    assert parts["lm_head"] in ("head", "language")
    assert "lm_head" not in layers


@pytest.mark.parametrize("keys", [{}, {"dora": True}, {"rslora": True}])
def test_training_moves_no_base_weight_and_merging_says_the_same(prompts, keys):
    policy = load_policy(_config(lora={"targets": "all", **keys}), seed=0)
    plain = load_policy(_config().model_copy(update={"lora": None}), seed=0)
    before = {name: weight.clone() for name, weight in plain.model.named_parameters()}
    torch.testing.assert_close(_logprobs(policy, prompts), _logprobs(plain, prompts))
    adamw = torch.optim.AdamW(trainable_parameters(policy.model).values(), lr=0.02)
    for _ in range(2):
        (-_logprobs(policy, prompts, grad=True).sum()).backward()
        adamw.step()
        adamw.zero_grad()
    learned = _logprobs(policy, prompts)
    assert (learned - _logprobs(plain, prompts)).abs().max() > 0.01
    base = {
        name.replace(".base_layer", ""): weight
        for name, weight in policy.model.named_parameters()
        if not is_adapter_weight(name)
    }
    assert base.keys() == before.keys()
    assert all(torch.equal(base[name], before[name]) for name in before)
    with adapter_off(policy.model):
        torch.testing.assert_close(_logprobs(policy, prompts), _logprobs(plain, prompts))
    assert torch.equal(_logprobs(policy, prompts), learned)
    plain.model.load_state_dict(dict(whole_weights(policy)))
    torch.testing.assert_close(_logprobs(plain, prompts), learned, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(base[name], before[name]) for name in before), "merging left a trace"


def test_packed_groups_have_the_same_logprobs_and_gradients(prompts):
    """The packed row reads the adapter once for the prompt, the plain rows once per completion."""
    config = _config(lora={"targets": "all", "dropout": 0.3})
    policy = _moved(load_policy(config, seed=0))
    assert choose_sharing(policy, config, prompts).sharing == "packed", (
        "dropout is off in the trial"
    )
    policy.model.eval()
    found = {}
    kinds: tuple[Sharing, ...] = ("none", "packed")
    for sharing in kinds:
        if sharing == "packed":
            use_packed_attention(policy.model)
        logprobs_BC = _logprobs(policy, prompts, sharing, grad=True)
        policy.model.zero_grad()
        (logprobs_BC * torch.arange(1.0, 4.0)).sum().backward()
        learning = trainable_parameters(policy.model)
        found[sharing] = (logprobs_BC, [parameter.grad for parameter in learning.values()])
    torch.testing.assert_close(found["packed"][0], found["none"][0], atol=1e-4, rtol=1e-4)
    for packed, plain in zip(found["packed"][1], found["none"][1], strict=True):
        torch.testing.assert_close(packed, plain, atol=1e-3, rtol=1e-3)


def test_bfloat16_holds_the_base_and_float32_the_adapter(prompts):
    config = _config(dtype="bfloat16")
    policy = load_policy(config, seed=0)
    for name, parameter in policy.model.named_parameters():
        expected = torch.float32 if is_adapter_weight(name) else torch.bfloat16
        assert parameter.dtype == expected
    assert choose_sharing(policy, config, prompts).sharing == "packed"
    assert next(policy.model.get_decoder().parameters()).dtype == torch.bfloat16
    (-_logprobs(policy, prompts, grad=True).sum()).backward()


def test_positions_turn_by_the_same_frequencies_under_bfloat16(prompts):
    """Rounded ones would turn position 2000 by radians too far."""
    low, high = (load_policy(_config(dtype=dtype), seed=0) for dtype in ("bfloat16", "float32"))
    buffers = dict(low.model.named_buffers())
    assert any("inv_freq" in name for name in buffers)
    for name, buffer in high.model.named_buffers():
        assert torch.equal(buffers[name], buffer), name


def test_a_checkpoint_is_the_adapter_and_goes_on_as_it_was(prompts, tmp_path):
    policy = _moved(load_policy(_config(), seed=0))
    save_policy(policy, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    expected = _logprobs(policy, prompts)
    resumed = load_policy(_config(), seed=0, adapter=tmp_path)
    assert torch.equal(_logprobs(resumed, prompts), expected)
    # the next stage has a fresh adapter on it, or none
    after = load_policy(_config(lora={"rank": 2}), seed=0, weights=tmp_path)
    torch.testing.assert_close(_logprobs(after, prompts), expected, atol=1e-5, rtol=1e-5)
    plain = load_policy(_config().model_copy(update={"lora": None}), seed=0, weights=tmp_path)
    torch.testing.assert_close(_logprobs(plain, prompts), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(RunError, match="another rank"):
        load_policy(_config(lora={"rank": 2}), seed=0, adapter=tmp_path)


def test_an_adapter_on_an_adapter_finds_both_also_when_the_run_has_moved(prompts, tmp_path):
    first, second = tmp_path / "run" / "a", tmp_path / "run" / "b"
    for folder in (first, second):
        folder.mkdir(parents=True)
    save_policy(_moved(load_policy(_config(), seed=0)), first)
    policy = _moved(load_policy(_config(), seed=0, weights=first))
    save_policy(policy, second)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "b"
    plain = _config().model_copy(update={"lora": None})
    found = load_policy(plain, seed=0, weights=moved)
    torch.testing.assert_close(
        _logprobs(found, prompts), _logprobs(policy, prompts), atol=1e-5, rtol=1e-5
    )
    assert json.loads((moved / "adapter_base.json").read_text())["path"] == "../a"


def test_peft_reads_the_checkpoint_on_the_base_model(prompts, tmp_path):
    import peft

    policy = _moved(load_policy(_config(), seed=0))
    save_policy(policy, tmp_path)
    plain = load_policy(_config().model_copy(update={"lora": None}), seed=0)
    wrapped = peft.PeftModel.from_pretrained(plain.model, str(tmp_path))
    wrapped.eval()
    torch.testing.assert_close(_logprobs(plain, prompts), _logprobs(policy, prompts))


def test_four_bits_without_a_gpu_are_an_error_that_says_so():
    config = ModelConfig.model_validate(
        {"family": FAMILY, "path": "nowhere", "device": "cpu", "lora": {"quantize": "nf4"}}
    )
    with pytest.raises(ConfigError, match=r"model\.lora\.quantize: nf4 needs"):
        load_policy(config, seed=0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"freeze": "vision"}, "freeze does nothing with lora"),
        ({"lora": {"quantize": "nf4"}}, "lora.quantize is for a checkpoint"),
        ({"lora": {"rank": 0}}, "greater than or equal to 1"),
    ],
)
def test_keys_that_do_not_go_together(keys, message):
    with pytest.raises(ValidationError, match=message):
        _config(**keys)


def test_a_pattern_that_matches_nothing_is_an_error():
    with pytest.raises(ConfigError, match="matches no linear layer"):
        load_policy(_config(lora={"targets": ("no_such_layer",)}), seed=0)


@pytest.mark.parametrize(
    ("freeze", "parts"),
    [
        ("none", {"language", "vision", "audio", "connector"}),
        ("vision", {"language", "audio", "connector"}),
        ("vision+connector", {"language", "audio"}),
        ("encoders", {"language", "connector"}),
        ("encoders+connector", {"language"}),
    ],
)
def test_presets_freeze_whole_parts(freeze, parts):
    config = ModelConfig.model_validate(
        {"family": "qwen2_5_omni", "tiny": "qwen2_5_omni", "device": "cpu", "freeze": freeze}
    )
    model = load_policy(config, seed=0).model
    found = parts_of(model)
    assert {found[name] for name in trainable_parameters(model)} == parts
