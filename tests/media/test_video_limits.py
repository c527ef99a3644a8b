"""Limits of pixels hold for every frame, however a processor counts."""

from __future__ import annotations

import pytest

from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.model import load_policy
from mmrl.prompt import Prompts


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen2_5_omni"])
def test_a_frame_is_as_large_in_a_long_video_as_in_a_short_one(family, ask):
    config = ModelConfig.model_validate({"family": family, "tiny": family, "device": "cpu"})
    policy = load_policy(config, seed=0)
    patch = policy.model.config.vision_config.patch_size
    pixels = (4 * patch) ** 2
    grids = []
    for fps in (2.0, 8.0):
        media = MediaConfig(video_fps=fps, video_min_pixels=pixels, video_max_pixels=pixels)
        prompt = Prompts(policy=policy, media=media)(ask("video:a.mp4", "?"))
        [grid] = prompt.media["video_grid_thw"].tolist()
        grids.append(grid)
    short, long = grids
    assert long[0] > short[0]
    assert long[1:] == short[1:]
    assert long[1] * long[2] * patch**2 <= pixels
