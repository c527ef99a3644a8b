"""Builders of the tiny models whose families show pictures as tiles of one size: here 56 by 56
pixels, 16 patches.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

from mmrl.tiny.tokenizer import PAD, TOKENIZER_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

TILE = 56
PATCH = 14
MOST_TILES = 3
"""In a row and in a column."""
VISION = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": TILE,
    "patch_size": PATCH,
    "initializer_range": 0.05,
}
SMOLVLM_TOKENS = {
    "image_token": "<image>",
    "video_token": "<video>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}


def build_smolvlm(text: dict[str, Any]) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A SmolVLM whose tiles are four tokens each; it has a tokenizer of its own, as its processor
    writes tokens into the prompt that no other family has.
    """
    from transformers import (
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
    )
    from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

    tokenizer = _smolvlm_tokenizer()
    ids = tokenizer.get_vocab()
    config = SmolVLMConfig(
        text_config={
            **text,
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "eos_token_id": ids[SMOLVLM_TOKENS["end_of_utterance_token"]],
        },
        vision_config=VISION,
        scale_factor=2,
        image_token_id=ids[SMOLVLM_TOKENS["image_token"]],
        pad_token_id=ids[PAD],
        tie_word_embeddings=True,
    )
    sizes: dict[str, Any] = {
        "size": {"longest_edge": MOST_TILES * TILE},
        "max_image_size": {"longest_edge": TILE},
    }
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(**sizes, do_image_splitting=True),
        tokenizer,
        SmolVLMVideoProcessor(**sizes),
        image_seq_len=(TILE // PATCH // 2) ** 2,
        chat_template=DEFAULT_CHAT_TEMPLATE,
    )
    return SmolVLMForConditionalGeneration(config), processor


def build_llava_onevision(
    tokenizer: Any, text: dict[str, Any], chat_template: str
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A LLaVA-OneVision whose tiles are 16 tokens each, and whose larger pictures are pooled to
    four tiles' worth.
    """
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    sides = [TILE * count for count in range(1, MOST_TILES + 1)]
    pinpoints = [list(size) for size in product(sides, sides)]
    config = LlavaOnevisionConfig(
        text_config={**text, "model_type": "qwen2"},
        vision_config={**VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
        image_token_index=tokenizer.convert_tokens_to_ids(tokenizer.image_token),
        video_token_index=tokenizer.convert_tokens_to_ids(tokenizer.video_token),
        image_grid_pinpoints=pinpoints,
        vision_aspect_ratio="anyres_max_4",
        tie_word_embeddings=True,
    )
    size = {"height": TILE, "width": TILE}
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=pinpoints),
        tokenizer,
        LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=(TILE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_4",
        chat_template=chat_template,
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def _smolvlm_tokenizer() -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(TOKENIZER_FILE),
        pad_token=PAD,
        eos_token=SMOLVLM_TOKENS["end_of_utterance_token"],
        extra_special_tokens=SMOLVLM_TOKENS,
        padding_side="left",
    )
    places = range(1, MOST_TILES + 1)
    tokenizer.add_tokens([f"<row_{row}_col_{column}>" for row in places for column in places])
    return tokenizer
