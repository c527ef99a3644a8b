"""What is special about the families that show pictures as tiles of one size: SmolVLM
(arXiv 2504.05299) and LLaVA-OneVision (arXiv 2408.03326).

Their processors take several videos only where all are equally long, and SmolVLM's loses the
pictures of a prompt that has a video too. So each medium goes through the processor's own parts by
itself, and its tiles lie one behind the other: the tensors of several prompts join without padding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmrl.types import MediaKind

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from mmrl.config.schema import MediaConfig
    from mmrl.processing import Decoded, HasProcessor


def process_smolvlm(
    policy: HasProcessor, text: str, decoded: Decoded, media: MediaConfig
) -> dict[str, Tensor]:
    """`input_ids` [1, T] and `pixel_values` [N, 1, 3, H, W]: tiles and frames in the order of the
    prompt, as all of them stand behind the same token.

    A picture becomes tiles and the whole of it, scaled to at most `image_max_pixels`; a frame of a
    video becomes one tile.
    """
    import torch

    from mmrl.processing import video_metadata

    processor = policy.processor
    tiles: dict[str, list[Tensor]] = {"image": [], "video": []}
    texts: dict[str, list[str]] = {"image": [], "video": []}
    for image in decoded.images:
        found = processor.image_processor(
            [[image]],
            size={"longest_edge": _smolvlm_edge(processor.image_processor, media)},
            return_row_col_info=True,
            return_tensors="pt",
        )
        tiles["image"].append(found["pixel_values"][0])
        texts["image"].append(processor.replace_image_token(found, image_idx=0))
    for video in decoded.videos:
        found = processor.video_processor(
            [video.frames_THWC],
            video_metadata=[video_metadata(video)],
            do_sample_frames=False,
            return_metadata=True,
            return_tensors="pt",
        )
        tiles["video"].append(found["pixel_values"][0])
        texts["video"].append(processor.replace_video_token(found, video_idx=0))
    ids_1T, kinds = _tokens(processor, text, texts)
    if not kinds:
        return {"input_ids": ids_1T}
    # Every tile is a full square, so that the mask of the padding in it says nothing.
    pixels = torch.cat([tiles[kind].pop(0) for kind in kinds])[:, None]
    return {"input_ids": ids_1T, "pixel_values": pixels}


def count_smolvlm(model: Any, media: Mapping[str, Tensor]) -> dict[MediaKind, int]:
    """Features of the tiles, of pictures and videos alike."""
    tiles = len(media["pixel_values"]) if "pixel_values" in media else 0
    return {"image": tiles * model.model.image_seq_len}


def process_llava_onevision(
    policy: HasProcessor, text: str, decoded: Decoded, media: MediaConfig
) -> dict[str, Tensor]:
    """`input_ids` [1, T]; `pixel_values` [tiles, 3, H, W] with `image_sizes` [N, 2] and
    `batch_num_images` [1]; `pixel_values_videos` [frames, 3, H, W] with `video_frames` [N].

    An only picture becomes tiles of the resolution that suits it; several pictures are one tile
    each, as the family was taught.
    """
    import torch

    processor = policy.processor
    texts: dict[str, list[str]] = {"image": [], "video": []}
    tensors: dict[str, Tensor] = {}
    if decoded.images:
        images = [_within_pixels(image, media) for image in decoded.images]
        found = processor.image_processor([images], return_tensors="pt")
        texts["image"] = [
            processor.replace_image_token(found, image_idx=place) for place in range(len(images))
        ]
        tensors = {
            "pixel_values": found["pixel_values"].flatten(0, 1),
            "image_sizes": found["image_sizes"],
            "batch_num_images": torch.tensor([len(images)]),
        }
    videos = []
    for video in decoded.videos:
        found = processor.video_processor(
            [video.frames_THWC], do_sample_frames=False, return_tensors="pt"
        )
        videos.append(found["pixel_values_videos"][0])
        texts["video"].append(processor.replace_video_token(found, video_idx=0))
    if videos:
        tensors["pixel_values_videos"] = torch.cat(videos)
        tensors["video_frames"] = torch.tensor([len(frames) for frames in videos])
    ids_1T, _ = _tokens(processor, text, texts)
    return {"input_ids": ids_1T, **tensors}


def count_llava_onevision(model: Any, media: Mapping[str, Tensor]) -> dict[MediaKind, int]:
    """Features as the model itself packs them; a row's end and a video's end are features too."""
    side = model.config.vision_config.image_size // model.config.vision_config.patch_size
    frames_N = media.get("video_frames")
    videos = 0
    if frames_N is not None:
        videos = int(frames_N.sum()) * math.ceil(side / 2) ** 2 + len(frames_N)
    if "pixel_values" not in media:
        return {"image": 0, "video": videos}
    pixels = media["pixel_values"]
    # Features of width 1, which cost nothing to pack.
    features = pixels.new_zeros(len(pixels), side**2, 1)
    _, lengths_N = model.model.pack_image_features(
        features.split(_tiles(model, media)),
        media["image_sizes"],
        image_newline=pixels.new_zeros(1),
        vision_aspect_ratio=model.config.vision_aspect_ratio,
    )
    return {"image": int(lengths_N.sum()), "video": videos}


def take_videos_of_any_length(model: Any) -> None:
    """Make a LLaVA-OneVision model read `video_frames`: its own forward takes one tensor of equally
    long videos.
    """
    model.model.register_forward_pre_hook(_embed_videos, with_kwargs=True)


def _smolvlm_edge(image_processor: Any, media: MediaConfig) -> int:
    """The longest edge, in whole tiles, with which no picture has more than the pixels allowed."""
    tile = image_processor.max_image_size["longest_edge"]
    allowed = math.isqrt(media.image_max_pixels) // tile * tile
    return max(tile, min(image_processor.size["longest_edge"], allowed))


def _within_pixels(image: Image, media: MediaConfig) -> Image:
    """The picture, shrunk or enlarged to the pixels allowed; the tiles are chosen by its size."""
    width, height = image.size
    wanted = min(max(width * height, media.image_min_pixels), media.image_max_pixels)
    if wanted == width * height:
        return image
    scale = math.sqrt(wanted / (width * height))
    round_to = math.floor if scale < 1 else math.ceil
    return image.resize((max(1, round_to(width * scale)), max(1, round_to(height * scale))))


def _tokens(processor: Any, text: str, texts: dict[str, list[str]]) -> tuple[Tensor, list[str]]:
    """Token ids [1, T] with the placeholders spelled out, and the kinds in the prompt's order.

    Raises:
        ValueError: the chat template left media out, or knows more of them.
    """
    for kind, spelled in texts.items():
        token = getattr(processor, f"{kind}_token")
        if text.count(token) != len(spelled):
            raise ValueError(
                f"the chat template shows {text.count(token)} of the prompt's {len(spelled)} "
                f"{kind}s"
            )
    [spelled_out], [places] = processor.get_text_with_replacements(
        [text], texts["image"], texts["video"]
    )
    ids_1T = processor.tokenizer([spelled_out], return_tensors="pt")["input_ids"]
    return ids_1T, [place["type"] for place in places]


def _tiles(model: Any, media: Mapping[str, Tensor]) -> list[int]:
    """How many tiles each picture has: the whole, and its parts where it is its prompt's only
    one.
    """
    from transformers.models.llava_onevision.modeling_llava_onevision import (
        image_size_to_num_patches,
    )

    grid, side = model.config.image_grid_pinpoints, model.config.vision_config.image_size
    alone = [count == 1 for count in media["batch_num_images"].tolist() for _ in range(count)]
    return [
        image_size_to_num_patches(size, grid, side) if only else 1
        for size, only in zip(media["image_sizes"].tolist(), alone, strict=True)
    ]


def _embed_videos(
    model: Any, arguments: tuple[Any, ...], inputs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    import torch

    frames_N = inputs.pop("video_frames", None)
    if frames_N is None:
        return None
    features = []
    for pixels in inputs.pop("pixel_values_videos").split(frames_N.tolist()):
        found = model.get_video_features(pixels[None], return_dict=True).pooler_output[0]
        features += [found, model.image_newline[None].to(found)]
    ids_BT = inputs.pop("input_ids")
    embeds_BTD = model.get_input_embeddings()(ids_BT)
    places_BT1 = (ids_BT == model.config.video_token_id)[..., None]
    joined = torch.cat(features).to(embeds_BTD)
    return arguments, {**inputs, "inputs_embeds": embeds_BTD.masked_scatter(places_BT1, joined)}
