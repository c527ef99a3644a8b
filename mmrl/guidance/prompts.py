"""Prompts that differ from one at hand in words or in the order of frames: nothing is decoded or
processed again for them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmrl.errors import DataError
from mmrl.families import completion_positions
from mmrl.processing import add_text
from mmrl.prompt import Prompts, check_row

if TYPE_CHECKING:
    from mmrl.types import Prompt


def with_hint(prompts: Prompts, prompt: Prompt, hint: str) -> Prompt:
    """The prompt with a text behind its question; its row stays the one that was asked.

    Raises:
        DataError: the text holds a token that stands for a medium.
    """
    policy, row = prompts.policy, prompt.row
    hinted = dataclasses.replace(row, prompt=add_text(row.prompt, hint))
    check_row(hinted, policy)
    ids = _retokenized(
        policy.processor.tokenizer, prompt.ids, prompts.text(row), prompts.text(hinted)
    )
    if ids is None:
        return dataclasses.replace(prompts.build(hinted), row=row, hint=hint)
    ids_1T = torch.tensor([ids])
    positions_R1T = policy.family.positions(policy.model, ids_1T, prompt.media)
    return dataclasses.replace(prompt, ids=ids, positions_RT=positions_R1T[:, 0], hint=hint)


def _retokenized(
    tokenizer: Any, ids: tuple[int, ...], before: str, after: str
) -> tuple[int, ...] | None:
    """The tokens of the changed text: those up to the last special token that both texts share are
    kept, with the placeholders of media among them. None where a medium stands behind the change.
    """
    same = before[: _shared(before, after)]
    special = {*tokenizer.all_special_tokens, *tokenizer.added_tokens_encoder}
    ends = [place + len(token) for token in special if (place := same.rfind(token)) >= 0]
    cut = max(ends, default=0)
    tail, new = (
        tokenizer(text[cut:], add_special_tokens=False).input_ids for text in (before, after)
    )
    if not tail or list(ids[-len(tail) :]) != tail:
        return None
    return (*ids[: -len(tail)], *new)


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def with_prefix(prompt: Prompt, tokenizer: Any, solution: str, *, share: float) -> Prompt:
    """The prompt with the first part of a solution as the beginning of the answer, by tokens; the
    verifiers see it before the completion.
    """
    ids = tokenizer(solution, add_special_tokens=False).input_ids
    count = round(len(ids) * share)
    # a character can be cut in two: the part is then no beginning of the text
    while not solution.startswith(tokenizer.decode(ids[:count])):
        count -= 1
    if not count:
        return prompt
    more_RT = completion_positions(prompt.positions_RT, count)
    return dataclasses.replace(
        prompt,
        ids=(*prompt.ids, *ids[:count]),
        positions_RT=torch.cat([prompt.positions_RT, more_RT], dim=-1),
        opening=prompt.opening + tokenizer.decode(ids[:count]),
    )


def with_frames_shuffled(prompt: Prompt, policy: Any, *, seed: int) -> Prompt:
    """The prompt with the frames of each of its videos in an order of the seed, never their own.

    Works on what the processor gave, which treats every frame alike.

    Raises:
        DataError: the family has no such tensors, or pictures stand among the frames.
    """
    generator = torch.Generator().manual_seed(seed)
    media = dict(prompt.media)
    if "video_grid_thw" in media:
        vision = policy.model.config.vision_config
        media["pixel_values_videos"] = _shuffled_patches(
            media["pixel_values_videos"],
            media["video_grid_thw"],
            tubelet=getattr(vision, "temporal_patch_size", 2),
            generator=generator,
        )
    else:
        key = "pixel_values_videos" if "video_frames" in media else "pixel_values"
        if key not in media or (key == "pixel_values" and len(prompt.row.media) > 1):
            raise DataError(
                f"row {prompt.row.id}: contrast cannot tell the frames of its video from its other "
                f"media for {policy.family.model_class}; remove the row, or leave out contrast"
            )
        counts = media["video_frames"].tolist() if "video_frames" in media else [len(media[key])]
        videos = [frames[_order(len(frames), generator)] for frames in media[key].split(counts)]
        media[key] = torch.cat(videos)
    return dataclasses.replace(prompt, media=media, features={}, media_key=f"{seed}")


def _shuffled_patches(
    patches_ND: Tensor, grid_V3: Tensor, *, tubelet: int, generator: torch.Generator
) -> Tensor:
    """Frames shuffled where a row [channels, frames of a tubelet, height, width] stands for a place
    in so many neighbouring frames, as the Qwen families' processors write them.
    """
    videos = []
    for video_ND, (times, high, wide) in zip(
        patches_ND.split(grid_V3.prod(-1).tolist()), grid_V3.tolist(), strict=True
    ):
        cells = video_ND.reshape(times, high * wide, 3, tubelet, -1)
        frames = cells.permute(0, 3, 1, 2, 4).flatten(0, 1)
        frames = frames[_order(len(frames), generator)]
        mixed = frames.unflatten(0, (times, tubelet)).permute(0, 2, 3, 1, 4)
        videos.append(mixed.reshape(video_ND.shape))
    return torch.cat(videos)


def _order(count: int, generator: torch.Generator) -> Tensor:
    """An order of so many frames that is not their own, where there is one."""
    own = torch.arange(count)
    order = own
    while count > 1 and torch.equal(order, own):
        order = torch.randperm(count, generator=generator)
    return order
