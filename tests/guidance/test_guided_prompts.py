"""Prompts with more words, a beginning of the answer or shuffled frames are what they would be if
they were made from the start, and nothing is decoded for them.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import mmrl.recipe
from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.errors import DataError
from mmrl.guidance.prompts import with_frames_shuffled, with_hint
from mmrl.model import load_policy
from mmrl.processing import add_text
from mmrl.prompt import Prompts

VIDEO = MediaConfig(video_fps=4)
FAMILIES = ("qwen2_5_omni", "qwen2_5_vl", "qwen3_vl", "smolvlm", "llava_onevision")


@pytest.fixture(scope="module", params=FAMILIES)
def policy(request):
    name = request.param
    return load_policy(ModelConfig(family=name, tiny=name, device="cpu", threads=1), seed=0)


def same(one, other) -> None:
    assert one.ids == other.ids
    assert torch.equal(one.positions_RT, other.positions_RT)
    assert one.media.keys() == other.media.keys()
    for key, tensor in one.media.items():
        assert torch.equal(tensor, other.media[key])


@pytest.mark.parametrize(
    "parts", [("how many?",), ("video:a.mp4", "how many?"), ("?", "image:a.png")]
)
def test_a_hint_gives_the_prompt_that_the_longer_question_would(policy, ask, parts):
    row = ask(*parts)
    prompts = Prompts(policy=policy, media=VIDEO, suffix=" Think.", opening="<think>\n")
    base = prompts(row)
    decoded = prompts.decoded
    hinted = with_hint(prompts, base, "\nHint: one ünd two.")
    assert prompts.decoded == decoded
    whole = Prompts(policy=policy, media=VIDEO, suffix=" Think.", opening="<think>\n")
    longer = dataclasses.replace(row, prompt=add_text(row.prompt, "\nHint: one ünd two."))
    same(hinted, whole(longer))
    assert hinted.row is base.row
    assert hinted.opening == "<think>\n"


def test_a_hint_that_names_a_medium_is_refused(guided_policy, ask):
    prompts = Prompts(policy=guided_policy, media=VIDEO)
    with pytest.raises(DataError, match="stands for a medium"):
        with_hint(prompts, prompts(ask("what?")), "\n<|VIDEO|>")


def test_shuffled_frames_are_what_processing_them_in_that_order_gives(policy, ask, monkeypatch):
    row = ask("video:a.mp4", "in which order?")
    prompt = Prompts(policy=policy, media=VIDEO)(row)
    shuffled = with_frames_shuffled(prompt, policy, seed=4)
    assert shuffled.ids == prompt.ids
    orders = []
    own = mmrl.recipe.decode_video

    def decode(medium, config, row_id):
        video = own(medium, config, row_id)
        count = len(video.frames_THWC)
        generator = torch.Generator().manual_seed(4)
        order = torch.arange(count)
        while torch.equal(order, torch.arange(count)):
            order = torch.randperm(count, generator=generator)
        orders.append(order.tolist())
        return dataclasses.replace(video, frames_THWC=np.asarray(video.frames_THWC)[order.numpy()])

    monkeypatch.setattr(mmrl.recipe, "decode_video", decode)
    same(shuffled, Prompts(policy=policy, media=VIDEO)(row))
    assert orders[0] != sorted(orders[0])
    key = "pixel_values_videos" if "pixel_values_videos" in prompt.media else "pixel_values"
    assert not torch.equal(shuffled.media[key], prompt.media[key])


def test_a_way_of_thinking_adds_its_words_to_every_question(make_guide, ask):
    for kind, words in (
        ("no_think", "what? Please directly output the answer."),
        ("think", "<think> </think> and final answer in <answer> </answer> tags."),
        ("answer_first", "brief reasoning process in <reason> </reason> tags."),
    ):
        prompts = make_guide(thinking={"kind": kind}).prompts
        text = prompts.policy.processor.tokenizer.decode(prompts(ask("what?")).ids)
        assert words in text
    prompts = make_guide(thinking={"kind": "autothink"}).prompts
    prompt = prompts(ask("what?"))
    text = prompts.policy.processor.tokenizer.decode(prompt.ids)
    assert text.endswith("<think>\n...\n")
    assert prompt.opening == "<think>\n...\n"
