"""The files of configs/model/ against the models that they name, built without weights."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest

from mmrl.config.files import choice_layers, options
from mmrl.config.loader import load_run
from mmrl.config.lora import LoraConfig
from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.errors import ConfigError
from mmrl.families import FAMILIES
from mmrl.parts import ADAPTED, FROZEN, parts_of
from mmrl.plan.adapters import adapter_counts, linear_layers
from mmrl.plan.checkpoints import dimensions_of
from mmrl.plan.media import show_image, show_video
from mmrl.plan.parameters import count_parameters, named_parameters
from mmrl.project import default_project

ROOT = default_project()
NAMES = [name for name in options(ROOT, "model") if name != "tiny_omni"]
EXPECTED = [
    "qwen2_vl_2b",
    "qwen2_vl_7b",
    "qwen2_vl_72b",
    "qwen2_5_vl_3b",
    "qwen2_5_vl_7b",
    "qwen2_5_vl_32b",
    "qwen2_5_vl_72b",
    "qwen3_vl_2b",
    "qwen3_vl_4b",
    "qwen3_vl_8b",
    "qwen2_5_omni_3b",
    "qwen2_5_omni_7b",
    "qwen2_audio_7b",
    "smolvlm2_2b",
    "llava_onevision_7b",
]
every_model = pytest.mark.parametrize("name", NAMES)


def section(name: str) -> tuple[ModelConfig, MediaConfig]:
    """What a file says of the model, and of its media."""
    parts = {"model": {}, "media": {}}
    for layer in choice_layers(ROOT, "model", name):
        parts[layer.section[0]].update(layer.values)
    return ModelConfig.model_validate(parts["model"]), MediaConfig.model_validate(parts["media"])


def test_all_of_them_are_there():
    assert sorted(NAMES) == sorted(EXPECTED)


@every_model
def test_it_is_built_as_the_file_says(name, on_meta):
    model, _ = section(name)
    sizes = dimensions_of(model)
    built = {key: weights.numel() for key, weights in on_meta(sizes).named_parameters()}
    assert built == named_parameters(sizes)
    text = (ROOT / "configs" / "model" / f"{name}.yaml").read_text()
    [billions] = re.findall(r"([\d.]+) billion parameters", text)
    assert float(billions) == pytest.approx(sum(built.values()) / 1e9, abs=0.06)
    assert (model.dtype, model.gradient_checkpointing, model.attention) == (
        "bfloat16",
        True,
        "sdpa",
    )


@every_model
def test_boxes_are_in_the_space_that_its_family_was_taught(name):
    model, _ = section(name)
    assert model.coordinates in (FAMILIES[model.family].coordinates, None)
    assert (model.coordinates is None) == (FAMILIES[model.family].media == {"audio"})


SPACES = {"qwen2_vl": "norm1000", "qwen2_5_vl": "pixel", "qwen3_vl": "norm1000"}


@every_model
def test_pictures_and_videos_stay_within_what_the_file_says(name):
    model, media = section(name)
    sizes = dimensions_of(model)
    assert model.coordinates == SPACES.get(model.family, model.coordinates)
    if sizes.vision is None:
        assert media.limit_audio_seconds == 30
        return
    largest = show_image(sizes, media, width=4000, height=3000).tokens
    clip = show_video(sizes, media, width=1920, height=1080, seconds=3600).tokens
    if sizes.vision.tile:
        assert largest < (1500 if model.family == "smolvlm" else 7600)
        per_frame = 81 if model.family == "smolvlm" else 196
        assert clip - 2 == media.video_max_frames * per_frame
        return
    side = sizes.vision.patch * sizes.vision.merge
    assert media.image_min_pixels == 4 * side**2
    assert media.image_max_pixels == 1280 * side**2
    assert 1200 < largest <= 1282
    assert 23_000 < clip <= 24_578


@every_model
@pytest.mark.parametrize("preset", FROZEN)
def test_a_preset_of_freezing_takes_whole_parts_and_never_nothing(name, preset, on_meta):
    model, _ = section(name)
    sizes = dimensions_of(model)
    built = on_meta(sizes)
    parts = parts_of(built)
    frozen = sum(p.numel() for key, p in built.named_parameters() if parts[key] in FROZEN[preset])
    counts = count_parameters(sizes, preset)
    assert counts.all.total - counts.learning.total == frozen
    if preset == "none":
        assert not frozen
        return
    keys = {**model.model_dump(), "freeze": preset}
    if not frozen:
        with pytest.raises(ValueError, match=r"would freeze nothing, .* use encoders"):
            ModelConfig.model_validate(keys)
        return
    assert ModelConfig.model_validate(keys).freeze == preset
    tower = counts.all.encoders
    assert (frozen == tower) == (preset == "encoders+connector" or preset == _all_of(model.family))
    assert 0.5 * counts.all.vision < frozen <= tower


def _all_of(family: str) -> str:
    """The preset that leaves no encoder to learn."""
    heard = "audio" in FAMILIES[family].media
    return "encoders+connector" if heard else "vision+connector"


@pytest.mark.skipif(find_spec("peft") is None, reason="needs peft")
@every_model
@pytest.mark.parametrize("preset", ADAPTED)
def test_adapters_stand_on_layers_that_there_are(name, preset, on_meta):
    from mmrl.lora import chosen_layers

    sizes = dimensions_of(section(name)[0])
    built = on_meta(sizes)
    config = LoraConfig(rank=8, targets=preset)
    modules = dict(built.named_modules())
    layers = {
        layer: (modules[layer].in_features, modules[layer].out_features)
        for layer in chosen_layers(built, config)
    }
    known = linear_layers(sizes)
    assert layers == {layer: known[layer] for layer in layers}
    if preset == "all":
        assert layers == known
    expected = sum(8 * (inputs + outputs) for inputs, outputs in layers.values())
    assert adapter_counts(sizes, config).total == expected
    assert 0 < expected < 0.02 * count_parameters(sizes).all.total


def test_the_parameters_of_an_adapter_are_those_that_peft_makes():
    pytest.importorskip("peft")
    from mmrl.model import load_policy, trainable_parameters

    for family, keys in (("qwen2_5_omni", {"targets": "all"}), ("qwen3_vl", {"dora": True})):
        lora = {"rank": 4, **keys}
        config = ModelConfig.model_validate(
            {"family": family, "tiny": family, "device": "cpu", "lora": lora}
        )
        learning = trainable_parameters(load_policy(config, seed=0).model)
        found = adapter_counts(dimensions_of(config), LoraConfig.model_validate(lora))
        assert found.total == sum(weight.numel() for weight in learning.values())


def test_a_pattern_on_no_layer_is_one_line():
    sizes = dimensions_of(section("qwen2_5_vl_7b")[0])
    with pytest.raises(ConfigError, match="'nothing' matches no linear layer; names look like"):
        adapter_counts(sizes, LoraConfig(targets=("nothing",)))


def test_the_dry_run_shows_where_a_limit_comes_from():
    loaded = load_run(["stage=geometry3k", "model=qwen3_vl_4b", "out=x"], ROOT)
    stage = loaded.run.stages["geometry3k"]
    assert stage.media.image_max_pixels == 1_310_720
    origin = loaded.provenance["stages.geometry3k.media.image_max_pixels"]
    assert origin == "configs/model/qwen3_vl_4b.yaml"
