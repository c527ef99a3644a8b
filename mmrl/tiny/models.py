"""Builders of the tiny models: the real transformers classes and processors with a small
configuration and seeded random weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mmrl.compat import make_torchvision_importable
from mmrl.tiny.tiled import build_llava_onevision, build_smolvlm
from mmrl.tiny.tokenizer import MEDIA_TOKENS, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

CHAT_TEMPLATE = (
    "{%- for message in messages -%}<|im_start|>{{ message.role }}"
    "{%- if message.content is string -%}{{ message.content }}"
    "{%- else -%}{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}<|vision_bos|><|IMAGE|><|vision_eos|>"
    "{%- elif part.type == 'video' -%}<|vision_bos|><|VIDEO|><|vision_eos|>"
    "{%- elif part.type == 'audio' -%}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{%- else -%}{{ part.text }}{%- endif -%}{%- endfor -%}{%- endif -%}<|im_end|>"
    "{%- endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant{%- endif -%}"
)
AUDIO_SECONDS = 4
"""Longest sound the tiny feature extractor takes; each second costs 25 prompt tokens."""
WINDOW_SECONDS = 30
"""What every sound is padded to where the tower takes one length only; vLLM knows no other."""


def build_tiny(name: str, *, seed: int) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Build the tiny model called `name` (a key of BUILDERS) and its processor; the seed decides
    every weight.
    """
    import torch

    make_torchvision_importable()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = BUILDERS[name](load_tokenizer())
    tokenizer = processor.tokenizer
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.float(), processor


def _omni(tokenizer: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    from transformers import (
        Qwen2_5OmniProcessor,
        Qwen2_5OmniThinkerConfig,
        Qwen2_5OmniThinkerForConditionalGeneration,
        WhisperFeatureExtractor,
    )

    config = Qwen2_5OmniThinkerConfig(
        text_config=_text_config(tokenizer),
        vision_config=_vision_config(hidden=96, intermediate=192)
        | {"depth": 2, "window_size": 112},
        audio_config={
            "num_mel_bins": 64,
            "d_model": 96,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 192,
            "n_window": 100,
            "max_source_positions": AUDIO_SECONDS * 50,
            "output_dim": HIDDEN,
        },
        audio_start_token_id=_id(tokenizer, "audio_bos_token"),
        audio_end_token_id=_id(tokenizer, "audio_eos_token"),
        image_token_index=_id(tokenizer, "image_token"),
        video_token_index=_id(tokenizer, "video_token"),
        audio_token_index=_id(tokenizer, "audio_token"),
        tie_word_embeddings=True,
    )
    # The class reads these two from the whole Omni config of released checkpoints, which nests the
    # thinker.
    config.vision_start_token_id = _id(tokenizer, "vision_bos_token")
    config.vision_end_token_id = _id(tokenizer, "vision_eos_token")
    model = Qwen2_5OmniThinkerForConditionalGeneration(config)
    processor = Qwen2_5OmniProcessor(
        image_processor=_image_processor(),
        video_processor=_video_processor(),
        feature_extractor=WhisperFeatureExtractor(feature_size=64, chunk_length=AUDIO_SECONDS),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    )
    return model, processor


def _qwen2_5_vl(tokenizer: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
    )

    config = Qwen2_5_VLConfig(
        text_config=_text_config(tokenizer),
        vision_config=_vision_config(hidden=96, intermediate=192)
        | {"depth": 2, "window_size": 112},
        **_vision_tokens(tokenizer),
    )
    processor = Qwen2_5_VLProcessor(
        _image_processor(), tokenizer, _video_processor(), chat_template=CHAT_TEMPLATE
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


def _qwen3_vl(tokenizer: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    from transformers import (
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    vision = _vision_config(hidden=96, intermediate=192) | {
        "depth": 3,
        "patch_size": 14,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
        "hidden_act": "gelu_pytorch_tanh",
    }
    del vision["fullatt_block_indexes"]
    text: dict[str, Any] = _text_config(tokenizer) | {"head_dim": HIDDEN // 4}
    # Said by every released checkpoint; transformers takes it for granted, other engines read it.
    text["rope_parameters"] |= {"mrope_interleaved": True}
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **_vision_tokens(tokenizer))
    video = Qwen3VLVideoProcessor(
        patch_size=14,
        size={"shortest_edge": 56 * 56, "longest_edge": 64 * 56 * 56},
        cap_pixels_per_frame=False,
    )
    processor = Qwen3VLProcessor(_image_processor(), tokenizer, video, chat_template=CHAT_TEMPLATE)
    return Qwen3VLForConditionalGeneration(config), processor


def _qwen2_vl(tokenizer: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

    vision = {
        "depth": 2,
        "embed_dim": 96,
        "hidden_size": HIDDEN,
        "num_heads": 4,
        "mlp_ratio": 2,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "initializer_range": 0.05,
    }
    config = Qwen2VLConfig(
        text_config=_text_config(tokenizer), vision_config=vision, **_vision_tokens(tokenizer)
    )
    processor = Qwen2VLProcessor(
        _image_processor(), tokenizer, _video_processor(), chat_template=CHAT_TEMPLATE
    )
    return Qwen2VLForConditionalGeneration(config), processor


def _qwen2_audio(tokenizer: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    config = Qwen2AudioConfig(
        text_config=_plain_text_config(tokenizer)
        | {"model_type": "qwen2", "tie_word_embeddings": False},
        audio_config={
            "num_mel_bins": 64,
            "d_model": 96,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 192,
            "max_source_positions": WINDOW_SECONDS * 50,
        },
        audio_token_index=_id(tokenizer, "audio_token"),
    )
    processor = Qwen2AudioProcessor(
        feature_extractor=WhisperFeatureExtractor(feature_size=64, chunk_length=WINDOW_SECONDS),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
        audio_token=MEDIA_TOKENS["audio_token"],
        audio_bos_token=MEDIA_TOKENS["audio_bos_token"],
        audio_eos_token=MEDIA_TOKENS["audio_eos_token"],
    )
    return Qwen2AudioForConditionalGeneration(config), processor


def _smolvlm(tokenizer: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    return build_smolvlm(_plain_text_config(tokenizer))


def _llava_onevision(tokenizer: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    return build_llava_onevision(tokenizer, _plain_text_config(tokenizer), CHAT_TEMPLATE)


HIDDEN = 128
BUILDERS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "qwen2_5_omni": _omni,
    "qwen2_audio": _qwen2_audio,
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "smolvlm": _smolvlm,
    "llava_onevision": _llava_onevision,
}


def _text_config(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.05,
        "tie_word_embeddings": True,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        # The three sections (time, height, width) share the half of a head's 32 dimensions.
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10.0,
            "mrope_section": [6, 5, 5],
        },
    }


def _plain_text_config(tokenizer: Any) -> dict[str, Any]:
    """Of a language model whose positions have one axis."""
    text = _text_config(tokenizer)
    del text["rope_parameters"]
    return text


def _vision_config(*, hidden: int, intermediate: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_heads": 4,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": HIDDEN,
        "fullatt_block_indexes": [1],
        "initializer_range": 0.05,
    }


def _vision_tokens(tokenizer: Any) -> dict[str, Any]:
    return {
        "image_token_id": _id(tokenizer, "image_token"),
        "video_token_id": _id(tokenizer, "video_token"),
        "vision_start_token_id": _id(tokenizer, "vision_bos_token"),
        "vision_end_token_id": _id(tokenizer, "vision_eos_token"),
        "tie_word_embeddings": True,
    }


def _image_processor() -> Any:
    from transformers import Qwen2VLImageProcessor

    return Qwen2VLImageProcessor(size={"shortest_edge": 56 * 56, "longest_edge": 448 * 448})


def _video_processor() -> Any:
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    return Qwen2VLVideoProcessor(
        size={"shortest_edge": 56 * 56, "longest_edge": 448 * 448}, cap_pixels_per_frame=False
    )


def _id(tokenizer: Any, attribute: str) -> int:
    return tokenizer.convert_tokens_to_ids(getattr(tokenizer, attribute))
