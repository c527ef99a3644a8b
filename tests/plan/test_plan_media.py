"""Tokens and patches of media, against the processors of the tiny models."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.errors import ConfigError
from mmrl.plan.dimensions import PUBLISHED, TINY
from mmrl.plan.media import default_medium, show_image, show_sound, show_video
from mmrl.plan.step import Part, parts

MEDIA = MediaConfig(image_min_pixels=3136, image_max_pixels=50_176, video_max_pixels=50_176)


@pytest.fixture(scope="module", params=[name for name in TINY if TINY[name].vision])
def policy(request):
    from mmrl.model import load_policy

    return load_policy(ModelConfig(family=request.param, tiny=request.param), seed=0)


@pytest.mark.parametrize(("width", "height"), [(56, 56), (300, 100), (90, 640), (31, 44)])
def test_an_image_has_the_tokens_that_the_processor_gives_it(policy, width, height):
    from PIL import Image

    from mmrl.processing import Decoded, process
    from mmrl.types import Medium, Row, VerifierTerm

    file = BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, format="PNG")
    parts = [{"type": "image", "image": Medium(kind="image", source=file.getvalue())}]
    row = Row(
        id="r",
        source="s",
        prompt=({"role": "user", "content": parts},),
        answer="",
        verifier=(VerifierTerm(name="exact"),),
    )
    decoded = Decoded(images=[Image.open(file)], videos=[], sounds=[])
    tensors = process(row, decoded, policy, MEDIA)
    real = policy.family.feature_counts(policy.model, tensors)["image"]

    shown = show_image(TINY[_name(policy)], MEDIA, width=width, height=height)

    # marks around the picture, and between SmolVLM's tiles, are no features
    marks = 2 + (3 * shown.parts + 3 if _name(policy) == "smolvlm" else 0)
    assert real <= shown.tokens <= real + marks
    assert shown.units == _patches(policy, tensors)


def test_a_video_is_sampled_as_the_settings_say():
    media = MediaConfig(video_fps=2, video_max_frames=16, video_max_pixels=28 * 28 * 64)
    shown = show_video(PUBLISHED["qwen2.5-vl-7b"], media, width=224, height=224, seconds=5)

    # 10 frames, joined in pairs, of 8 by 8 tokens each; two marks
    assert (shown.parts, shown.tokens, shown.units) == (5, 5 * 64 + 2, 5 * 256)
    longer = show_video(PUBLISHED["qwen2.5-vl-7b"], media, width=224, height=224, seconds=60)
    assert longer.parts == 8


def test_a_second_of_sound_is_25_tokens():
    shown = show_sound(PUBLISHED["qwen2.5-omni-7b"], seconds=10)
    assert (shown.tokens, shown.units, shown.parts) == (252, 500, 5)
    # a Qwen2-Audio hears half a minute whatever it is given
    assert show_sound(PUBLISHED["qwen2-audio-7b"], seconds=10).units == 1500


def test_the_largest_picture_is_assumed_where_none_is_given():
    shown = default_medium(PUBLISHED["qwen2.5-vl-7b"], MediaConfig(image_max_pixels=28 * 28 * 100))
    assert shown.tokens == 102


@pytest.mark.parametrize(
    "show",
    [
        lambda: show_sound(PUBLISHED["qwen2-vl-2b"], seconds=1),
        lambda: show_image(PUBLISHED["qwen2-audio-7b"], MEDIA, width=9, height=9),
        lambda: show_video(PUBLISHED["qwen2-audio-7b"], MEDIA, width=9, height=9, seconds=1),
    ],
)
def test_a_medium_that_the_family_does_not_read_is_refused(show):
    with pytest.raises(ConfigError, match="reads no"):
        show()


@pytest.mark.parametrize("sharing", ["packed", "encoder", "none"])
@pytest.mark.parametrize("most", [1, 60, 100, 150, 1000])
def test_rows_are_split_as_training_splits_them(toy_step, sharing, most):
    from mmrl.batch import micro_batches_of_tokens

    step = toy_step(sharing=sharing, micro_tokens=most)
    given = [_OfLength(40) for _ in range(step.prompt_count)]
    prompts_B = [prompt for prompt in given for _ in range(step.group_size)]
    real = micro_batches_of_tokens(prompts_B, [[0] * 10] * step.rows, sharing=sharing, most=most)

    expected: dict[Part, int] = {}
    for rows in real:
        part = Part(len({id(prompts_B[row]) for row in rows}), len(rows))
        expected[part] = expected.get(part, 0) + 1
    assert dict(parts(step)) == expected


class _OfLength:
    def __init__(self, length: int) -> None:
        self.ids = (0,) * length


def _name(policy) -> str:
    from mmrl.families import FAMILIES

    return next(name for name, family in FAMILIES.items() if family is policy.family)


def _patches(policy, tensors) -> int:
    if "image_grid_thw" in tensors:
        return int(tensors["image_grid_thw"].prod(-1).sum())
    pixels = tensors["pixel_values"]
    return pixels.numel() // (3 * policy.model.config.vision_config.patch_size**2)
