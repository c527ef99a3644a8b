"""Token positions of families with three rotary axes (time, height, width; Qwen2-VL, arXiv
2409.12191, section 2.1), as they were taught: what follows a medium begins behind the largest
position in it, on whichever axis, and the seconds between frames keep their fractions.

transformers 5.17 counts on from the height and width of a video alone, and cuts the seconds to
whole ones, so its own index is not asked for these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def grid_positions(model: Any, ids_1T: Tensor, media: Mapping[str, Tensor]) -> Tensor:
    """Positions [3, 1, T]; a video's frames are one apart in time."""
    grids_N3 = media.get("video_grid_thw")
    count = 0 if grids_N3 is None else len(grids_N3)
    return _positions(model, ids_1T, media, [1.0] * count)


def timed_positions(model: Any, ids_1T: Tensor, media: Mapping[str, Tensor]) -> Tensor:
    """Positions [3, 1, T]; a video's frames are apart as its seconds say."""
    rate = model.config.vision_config.tokens_per_second
    seconds_N = media.get("second_per_grid_ts")
    apart = [] if seconds_N is None else [rate * float(seconds) for seconds in seconds_N]
    return _positions(model, ids_1T, media, apart)


def _positions(
    model: Any, ids_1T: Tensor, media: Mapping[str, Tensor], apart: list[float]
) -> Tensor:
    import torch

    grids = {
        model.config.image_token_id: _grids(model, media.get("image_grid_thw"), None),
        model.config.video_token_id: _grids(model, media.get("video_grid_thw"), apart),
    }
    ids = ids_1T[0].tolist()
    pieces: list[Tensor] = []
    place, start = 0, 0
    while place < len(ids):
        if ids[place] in grids:
            piece_3T = next(grids[ids[place]])
        else:
            end = next((n for n in range(place, len(ids)) if ids[n] in grids), len(ids))
            piece_3T = torch.arange(end - place).expand(3, -1)
        pieces.append(piece_3T + start)
        place += piece_3T.shape[1]
        start = int(pieces[-1].max()) + 1
    return torch.cat(pieces, dim=1)[:, None].to(ids_1T.device)


def _grids(model: Any, grids_N3: Tensor | None, apart: list[float] | None) -> Iterator[Tensor]:
    """Of each medium [3, T], from 0 on; `apart` is what lies between two frames."""
    import torch

    merged = model.config.vision_config.spatial_merge_size
    for number, grid in enumerate(() if grids_N3 is None else grids_N3.tolist()):
        frames, height, width = grid[0], grid[1] // merged, grid[2] // merged
        step = 1.0 if apart is None else apart[number]
        times = (torch.arange(frames, dtype=torch.float64) * step).long()
        axes = torch.meshgrid(times, torch.arange(height), torch.arange(width), indexing="ij")
        yield torch.stack(axes).flatten(1)
