"""Positions of families with three rotary axes: those of pretraining, worked by hand and against
the classes that still count so.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mmrl.positions import grid_positions, timed_positions

IMAGE, VIDEO, TEXT = 3, 4, 50


def _model(**vision) -> SimpleNamespace:
    config = SimpleNamespace(spatial_merge_size=2, tokens_per_second=4, **vision)
    return SimpleNamespace(
        config=SimpleNamespace(image_token_id=IMAGE, video_token_id=VIDEO, vision_config=config)
    )


def _ids(*runs: tuple[int, int]) -> torch.Tensor:
    return torch.tensor([[token for token, count in runs for _ in range(count)]])


def test_text_goes_on_behind_the_last_moment_of_a_video():
    """Two frames of one by two tokens, four positions apart: the video ends at 1 + 4, and the text
    begins at 6, not behind its width."""
    ids = _ids((TEXT, 1), (VIDEO, 4), (TEXT, 2))
    media = {
        "video_grid_thw": torch.tensor([[2, 2, 4]]),
        "second_per_grid_ts": torch.tensor([1.0]),
    }
    found = timed_positions(_model(), ids, media)
    assert found[:, 0].tolist() == [
        [0, 1, 1, 5, 5, 6, 7],
        [0, 1, 1, 1, 1, 6, 7],
        [0, 1, 2, 1, 2, 6, 7],
    ]


def test_half_a_second_is_two_positions_and_not_none():
    ids = _ids((VIDEO, 3))
    media = {
        "video_grid_thw": torch.tensor([[3, 2, 2]]),
        "second_per_grid_ts": torch.tensor([0.5]),
    }
    assert timed_positions(_model(), ids, media)[0, 0].tolist() == [0, 2, 4]


def test_without_seconds_frames_are_one_apart():
    ids = _ids((VIDEO, 5), (TEXT, 1))
    media = {"video_grid_thw": torch.tensor([[5, 2, 2]])}
    assert grid_positions(_model(), ids, media)[:, 0].tolist() == [
        [0, 1, 2, 3, 4, 5],
        [0, 0, 0, 0, 0, 5],
        [0, 0, 0, 0, 0, 5],
    ]


def test_text_alone_counts_up_on_all_axes():
    assert grid_positions(_model(), _ids((TEXT, 3)), {})[:, 0].tolist() == [[0, 1, 2]] * 3


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.7])
def test_pictures_and_videos_stand_where_qwen2_5_omni_puts_them(seconds):
    """Its thinker was taught the same rule, and transformers still counts so for it."""
    from mmrl.tiny.models import build_tiny

    omni: Any = build_tiny("qwen2_5_omni", seed=0)[0]
    config = omni.config
    start, end = config.vision_start_token_id, config.vision_end_token_id
    image, video = config.image_token_id, config.video_token_id
    opened, closed = (start, 1), (end, 1)
    ids = _ids(
        (TEXT, 2), opened, (image, 6), closed, (TEXT, 1), opened, (video, 12), closed, (TEXT, 3)
    )
    grids = {
        "image_grid_thw": torch.tensor([[1, 4, 6]]),
        "video_grid_thw": torch.tensor([[3, 4, 4]]),
    }
    expected, _ = omni.get_rope_index(
        ids,
        grids["image_grid_thw"],
        grids["video_grid_thw"],
        torch.ones_like(ids),
        False,
        None,
        torch.tensor([seconds]),
    )
    model = SimpleNamespace(
        config=SimpleNamespace(
            image_token_id=image,
            video_token_id=video,
            vision_config=SimpleNamespace(
                spatial_merge_size=2, tokens_per_second=config.position_id_per_seconds
            ),
        )
    )
    found = timed_positions(model, ids, grids | {"second_per_grid_ts": torch.tensor([seconds])})
    assert torch.equal(found, expected.long())
