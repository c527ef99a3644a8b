"""Parameters by name and number, against the models that transformers builds."""

from __future__ import annotations

import json

import pytest

from mmrl.config.schema import ModelConfig
from mmrl.errors import ConfigError
from mmrl.plan.checkpoints import dimensions_of, read_dimensions
from mmrl.plan.dimensions import PUBLISHED, TINY
from mmrl.plan.parameters import count_parameters, named_parameters

REPORTED = {
    "qwen2-vl-2b": 2.21e9,
    "qwen2-vl-7b": 8.29e9,
    "qwen2-vl-72b": 73.4e9,
    "qwen2.5-vl-3b": 3.75e9,
    "qwen2.5-vl-7b": 8.29e9,
    "qwen2.5-vl-32b": 33.5e9,
    "qwen2.5-vl-72b": 73.4e9,
    "qwen3-vl-2b": 2.13e9,
    "qwen3-vl-4b": 4.44e9,
    "qwen3-vl-8b": 8.77e9,
    "qwen2-audio-7b": 8.40e9,
    "smolvlm2-2.2b": 2.25e9,
    "llava-onevision-qwen2-7b": 8.03e9,
}
"""Elements of the checkpoints, as their pages on the hub show them."""


@pytest.fixture(scope="module")
def tiny_models():
    from mmrl.tiny.models import build_tiny

    return {name: build_tiny(name, seed=0)[0] for name in TINY}


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_model_has_the_parameters_that_are_named(tiny_models, name):
    built = {key: weights.numel() for key, weights in tiny_models[name].named_parameters()}

    assert named_parameters(TINY[name]) == built


@pytest.mark.parametrize("name", TINY)
def test_sizes_are_read_from_the_folder_of_a_checkpoint(tiny_models, name, tmp_path):
    tiny_models[name].config.save_pretrained(tmp_path)

    found = read_dimensions(tmp_path, TINY[name].family)

    assert named_parameters(found) == named_parameters(TINY[name])


@pytest.mark.parametrize(("name", "count"), REPORTED.items())
def test_a_published_model_has_as_many_parameters_as_its_checkpoint(name, count):
    assert count_parameters(PUBLISHED[name]).all.total == pytest.approx(count, rel=0.02)


def test_the_language_model_of_the_7b_is_counted_by_hand():
    # a layer: q, o 3584^2; k, v 3584 * 512; mlp 3 * 3584 * 18944; biases and two norms
    layer = 2 * 3584**2 + 2 * 3584 * 512 + 3 * 3584 * 18_944 + (3584 + 2 * 512) + 2 * 3584
    counts = count_parameters(PUBLISHED["qwen2.5-vl-7b"]).all

    assert counts.decoder == 28 * layer + 3584
    assert counts.embedding == counts.head == 152_064 * 3584


def test_frozen_towers_do_not_learn():
    model = PUBLISHED["qwen2.5-vl-7b"]
    found = count_parameters(model, [r"^model\.visual\."])

    assert found.learning.vision == 0
    assert found.all.total - found.learning.total == found.all.vision


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (["nothing_like_it"], "matches no parameter"),
        (["."], "every parameter is frozen"),
        (["("], "no regular expression"),
    ],
)
def test_what_cannot_be_frozen_is_one_line(freeze, message):
    with pytest.raises(ConfigError, match=message) as caught:
        count_parameters(TINY["qwen2_vl"], freeze)

    assert "\n" not in str(caught.value)


def test_a_name_on_the_hub_is_known_whoever_keeps_a_copy():
    config = ModelConfig(family="qwen2_5_vl", path="someone/Qwen2.5-VL-7B-Instruct-copy")

    assert dimensions_of(config) == PUBLISHED["qwen2.5-vl-7b"]


def test_an_unknown_model_lists_those_that_are_known():
    with pytest.raises(ConfigError, match=r"'a/b' are not known.*qwen2-audio-7b") as caught:
        dimensions_of(ModelConfig(family="qwen2_vl", path="a/b"))

    assert "\n" not in str(caught.value)


def test_a_model_of_another_family_is_refused():
    with pytest.raises(ConfigError, match="is a qwen3_vl, not a qwen2_vl"):
        dimensions_of(ModelConfig(family="qwen2_vl", path="Qwen/Qwen3-VL-4B-Instruct"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "not the configuration"),
        ("[]", "not the configuration"),
        (json.dumps({"text_config": {}}), "'intermediate_size' is missing"),
    ],
)
def test_a_folder_without_a_usable_configuration_is_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)

    with pytest.raises(ConfigError, match=message) as caught:
        dimensions_of(ModelConfig(family="qwen2_vl", path=str(tmp_path)))

    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "preset"),
    [
        (family, preset)
        for family in sorted(TINY)
        for preset in ("none", "vision", "vision+connector", "encoders+connector")
        if (family, preset) != ("qwen2_audio", "vision")
    ],
)
def test_a_preset_freezes_as_many_parameters_as_in_the_model(family, preset):
    from mmrl.model import load_policy, trainable_parameters

    keys = {"family": family, "tiny": family, "device": "cpu", "freeze": preset}
    policy = load_policy(ModelConfig.model_validate(keys), seed=0)
    expected = sum(p.numel() for p in trainable_parameters(policy.model).values())
    learning = count_parameters(TINY[family], preset).learning
    assert learning.total == expected
