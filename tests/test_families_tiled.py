"""Families that show pictures as tiles of one size: what their own processors give, and what those
cannot."""

from __future__ import annotations

import copy
import dataclasses
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from mmrl import families
from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.errors import ConfigError, DataError
from mmrl.media.writers import write_mp4, write_png
from mmrl.model import load_policy, save_policy
from mmrl.processing import chat_text, process, video_metadata
from mmrl.prompt import Prompts
from mmrl.recipe import decode

MEDIA = MediaConfig(video_fps=4)
needs_num2words = pytest.mark.skipif(find_spec("num2words") is None, reason="needs num2words")
FAMILIES = (pytest.param("smolvlm", marks=needs_num2words), "llava_onevision")
QUESTIONS = {
    "text": ("how many?",),
    "image": ("what", "image:a.png", "is it?"),
    "two_images": ("image:a.png", "and", "image:b.png", "which?"),
    "video": ("video:a.mp4", "what moves?"),
    "twice_a_video": ("video:a.mp4", "video:a.mp4", "first?"),
}


@pytest.fixture(scope="module", params=FAMILIES)
def policy(request):
    return _policy(request.param)


@pytest.fixture(scope="module")
def smolvlm():
    return _policy("smolvlm")


@pytest.fixture(scope="module")
def llava():
    return _policy("llava_onevision")


def _policy(name: str):
    policy = load_policy(ModelConfig.model_validate({"family": name, "tiny": name}), seed=0)
    policy.model.eval()
    return policy


def _by_its_processor(policy, row):
    """One call of the processor, as its documentation shows it."""
    decoded = decode(row, policy, MEDIA)
    arguments = {"text": [chat_text(row, policy.processor)], "return_tensors": "pt"}
    if decoded.images:
        arguments["images"] = [list(decoded.images)]
    if decoded.videos:
        arguments["videos"] = [[video.frames_THWC for video in decoded.videos]]
        arguments["videos_kwargs"] = {
            "do_sample_frames": False,
            "video_metadata": [video_metadata(video) for video in decoded.videos],
        }
    return policy.processor(**arguments)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_prompt_is_what_the_processor_makes_of_it(policy, ask, question):
    row = ask(*QUESTIONS[question], row_id=question)
    expected = _by_its_processor(policy, row)
    prompt = Prompts(policy=policy, media=MEDIA)(row)
    assert list(prompt.ids) == expected["input_ids"][0].tolist()
    with torch.no_grad():
        theirs = policy.model(**expected).logits
        ours = policy.model(input_ids=torch.tensor([prompt.ids]), **prompt.media).logits
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def _features(policy, prompt) -> torch.Tensor:
    """What the language model is given in the place of the media's tokens."""
    seen = {}
    language = next(
        module
        for name, module in policy.model.named_modules()
        if name in ("model.text_model", "model.language_model")
    )
    handle = language.register_forward_pre_hook(
        lambda _, __, inputs: seen.update(inputs), with_kwargs=True
    )
    with torch.no_grad():
        policy.model(input_ids=torch.tensor([prompt.ids]), **prompt.media)
    handle.remove()
    places = torch.isin(torch.tensor(prompt.ids), torch.tensor(policy.banned_ids))
    return seen["inputs_embeds"][0, places]


MIXES = {
    "image_video": ("image:a.png", "video:a.mp4"),
    "video_image": ("video:a.mp4", "image:a.png"),
    "long_short": ("video:a.mp4", "video:b.mp4"),
    "image_video_image": ("image:a.png", "video:b.mp4", "image:b.png"),
}


@pytest.mark.parametrize("mix", MIXES)
def test_media_of_several_kinds_stand_where_the_prompt_shows_them(policy, ask, mix):
    """Each medium's features are those it has in a prompt of its own, in the prompt's order."""
    parts = MIXES[mix]
    prompts = Prompts(policy=policy, media=MEDIA)
    mixed = _features(policy, prompts(ask(*parts, "?", row_id=mix)))
    pictures = [part for part in parts if part.startswith("image:")]
    if policy.model.config.model_type == "llava_onevision" and len(pictures) > 1:
        # several pictures are one tile each, an only one is tiles
        both = _features(policy, prompts(ask(*pictures, "?", row_id="pictures")))
        alone = dict(zip(pictures, both.chunk(2), strict=True))
    else:
        alone = {part: _features(policy, prompts(ask(part, row_id=part))) for part in pictures}
    for part in parts:
        if part not in alone:
            alone[part] = _features(policy, prompts(ask(part, row_id=part)))
    torch.testing.assert_close(mixed, torch.cat([alone[part] for part in parts]))


def _picture(tmp_path, ask, height: int, width: int):
    rng = np.random.default_rng(height * 1000 + width)
    name = f"{height}x{width}.png"
    write_png(tmp_path / name, rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return ask(f"image:{name}", "?", row_id=name, folder=tmp_path)


@pytest.mark.parametrize("size", [(1, 1), (20, 400), (400, 20), (57, 55), (168, 168), (300, 290)])
def test_pictures_of_any_shape_have_as_many_tokens_as_features(policy, ask, tmp_path, size):
    row = _picture(tmp_path, ask, *size)
    prompt = Prompts(policy=policy, media=MEDIA)(row)
    found = _features(policy, prompt)
    assert len(found) == policy.family.feature_counts(policy.model, prompt.media)["image"]
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([prompt.ids]), **prompt.media).logits
    assert logits.isfinite().all()


def test_smaller_limits_of_pixels_give_fewer_tokens(policy, ask, tmp_path):
    row = _picture(tmp_path, ask, 160, 150)
    lengths = [
        len(Prompts(policy=policy, media=MediaConfig(image_max_pixels=most))(row).ids)
        for most in (3136, 4 * 3136, 9 * 3136)
    ]
    assert lengths[0] < lengths[1] <= lengths[2]


def test_a_picture_is_never_shown_with_more_pixels_than_allowed(ask, tmp_path):
    pytest.importorskip("num2words")
    policy = _policy("smolvlm")
    for height, width in ((160, 150), (30, 300), (300, 30), (5, 5)):
        for most in (3136, 12_000, 13_000, 10**6):
            media = MediaConfig(image_max_pixels=most)
            row = _picture(tmp_path, ask, height, width)
            tiles = len(Prompts(policy=policy, media=media)(row).media["pixel_values"])
            assert (tiles - 1) * 3136 <= max(most, 3136), (height, width, most)


def test_a_picture_of_llava_is_enlarged_to_the_least_pixels(llava, ask, tmp_path):
    row = _picture(tmp_path, ask, 30, 30)
    for least, sides in ((1, (30, 30)), (100 * 100, (100, 100))):
        prompt = Prompts(policy=llava, media=MediaConfig(image_min_pixels=least))(row)
        assert prompt.media["image_sizes"].tolist() == [list(sides)]


def test_the_row_learns_the_size_of_its_only_picture(policy, ask, tmp_path):
    prompts = Prompts(policy=policy, media=MEDIA)
    row = prompts(_picture(tmp_path, ask, 30, 40)).row
    assert (row.extra["width"], row.extra["height"]) == (40, 30)
    assert "seen_width" not in row.extra
    two = prompts(ask("image:a.png", "image:b.png", row_id="two")).row
    assert "width" not in two.extra


@pytest.mark.parametrize("word", ["<image>", "<video>"])
def test_a_placeholder_of_smolvlm_in_a_text_is_an_error_of_the_data(ask, word):
    pytest.importorskip("num2words")
    prompts = Prompts(policy=_policy("smolvlm"), media=MEDIA)
    with pytest.raises(DataError, match=f"row bad: the text of its prompt holds '{word}'"):
        prompts(ask("video:a.mp4", f"what is {word}?", row_id="bad"))


def test_a_template_that_leaves_media_out_is_an_error(policy, ask):
    template = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
    processor = copy.copy(policy.processor)
    processor.chat_template = template
    mute = dataclasses.replace(policy, processor=processor)
    row = ask("image:a.png", "?", row_id="bad")
    with pytest.raises(DataError, match="the chat template shows 0 of the prompt's 1 images"):
        process(row, decode(row, policy, MEDIA), mute, MEDIA)


def test_what_is_saved_is_loaded_with_the_same_prompts_and_logits(policy, ask, tmp_path):
    save_policy(policy, tmp_path)
    name = policy.model.config.model_type
    again = load_policy(ModelConfig(family=name, path=str(tmp_path)), seed=1)
    again.model.eval()
    for parts in (*QUESTIONS.values(), *MIXES.values()):
        row = ask(*parts, "?", row_id="+".join(parts))
        before, after = (Prompts(policy=each, media=MEDIA)(row) for each in (policy, again))
        assert before.ids == after.ids
        logits = [
            each.model(input_ids=torch.tensor([prompt.ids]), **prompt.media).logits.detach()
            for each, prompt in ((policy, before), (again, after))
        ]
        torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-5)


def test_videos_of_llava_end_with_a_feature_of_their_own(llava, ask, tmp_path):
    """One frame more is four features more: 16 patches, pooled two by two."""
    write_mp4(tmp_path / "six.mp4", np.zeros((6, 56, 56, 3), dtype=np.uint8), fps=4)
    six = Prompts(policy=llava, media=MEDIA)(ask("video:six.mp4", row_id="six", folder=tmp_path))
    eight = Prompts(policy=llava, media=MEDIA)(ask("video:a.mp4", row_id="eight"))
    assert len(_features(llava, six)) == 6 * 4 + 1
    assert len(_features(llava, eight)) == 8 * 4 + 1
    newline = llava.model.model.image_newline.detach()
    torch.testing.assert_close(_features(llava, six)[-1], newline)


@needs_num2words
def test_a_video_of_smolvlm_tells_the_time_of_each_frame(smolvlm, ask):
    prompt = Prompts(policy=smolvlm, media=MEDIA)(ask("video:a.mp4", "video:b.mp4", row_id="two"))
    text = smolvlm.processor.tokenizer.decode(prompt.ids)
    assert "the following series of eight frames from a 0:00:02" in text
    assert "the following series of six frames from a 0:00:03" in text
    assert text.count("Frame from 00:0") == 14


def test_a_family_whose_packages_are_missing_says_what_to_install(monkeypatch):
    entry = dataclasses.replace(families.FAMILIES["smolvlm"], packages=("no_such_package",))
    monkeypatch.setitem(families.FAMILIES, "smolvlm", entry)
    with pytest.raises(ConfigError, match=r"needs packages .* run: pip install no_such_package"):
        load_policy(ModelConfig(family="smolvlm", tiny="smolvlm"), seed=0)


def test_the_gradient_reaches_the_tower_through_pictures_and_videos(policy, ask):
    prompt = Prompts(policy=policy, media=MEDIA)(ask(*MIXES["image_video"], row_id="both"))
    policy.model.zero_grad()
    policy.model(input_ids=torch.tensor([prompt.ids]), **prompt.media).logits.sum().backward()
    norms = {
        name: parameter.grad.norm().item()
        for name, parameter in policy.model.named_parameters()
        if parameter.grad is not None
    }
    policy.model.zero_grad()
    tower = [norm for name, norm in norms.items() if "vision" in name]
    assert tower
    assert all(np.isfinite(norm) for norm in norms.values())
    assert max(tower) > 0
