"""Small media, questions about them, and models that are not of the shipped families, for the tests
of training.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrl.data.rows import parse_rows
from mmrl.media.writers import write_mp4, write_png, write_wav

# Two test processes whose torch has two threads each stand in each other's way; children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _each_test_finds_its_own_project():
    """A command says which project it runs in to the processes that it starts, and so to the next
    test."""
    named = os.environ.get("MMRL_PROJECT")
    yield
    if named is None:
        os.environ.pop("MMRL_PROJECT", None)
    else:
        os.environ["MMRL_PROJECT"] = named


@pytest.fixture(scope="session")
def media_folder(tmp_path_factory) -> Path:
    """Two pictures, two videos of different rates and two sounds of different lengths."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    write_png(folder / "a.png", rng.integers(0, 256, (56, 84, 3), dtype=np.uint8))
    write_png(folder / "b.png", rng.integers(0, 256, (84, 56, 3), dtype=np.uint8))
    write_mp4(folder / "a.mp4", rng.integers(0, 256, (8, 56, 56, 3), dtype=np.uint8), fps=4)
    write_mp4(folder / "b.mp4", rng.integers(0, 256, (6, 56, 84, 3), dtype=np.uint8), fps=2)
    write_wav(folder / "a.wav", 0.5 * np.sin(np.arange(16_000) / 9))
    write_wav(folder / "b.wav", 0.5 * np.sin(np.arange(9_000) / 5))
    return folder


@pytest.fixture(scope="session")
def ask(media_folder):
    """Make a row from what its user says: texts, and media as `image:a.png`."""

    def make(*parts: str, row_id: str = "r1", folder: Path = media_folder, **changes):
        raw = {
            "id": row_id,
            "source": "toy",
            "prompt": [{"role": "user", "content": [_part(part) for part in parts]}],
            "answer": "3",
            "verifier": "exact",
            **changes,
        }
        return parse_rows([(f"toy:{row_id}", raw)], folder=folder, name="toy")[0]

    return make


def _part(text: str) -> dict[str, str]:
    kind, colon, name = text.partition(":")
    return {"type": kind, kind: name} if colon else {"type": "text", "text": text}


@pytest.fixture(scope="module")
def bidirectional_policy():
    """A tiny Gemma3 (arXiv 2503.19786): the tokens of a picture see those behind them too."""
    from mmrl.tiny.models import build_tiny

    _, donor = build_tiny("qwen2_vl", seed=0)
    with _seeded():
        model, processor = _gemma3(donor.tokenizer)
    return _policy(model, processor, _gemma3_family())


@pytest.fixture(scope="module")
def recurrent_policy():
    """A tiny Qwen3.5: three of four layers carry a state along (gated delta rule, arXiv
    2412.06464)."""
    from mmrl.families import FAMILIES
    from mmrl.tiny.models import build_tiny

    donor, processor = build_tiny("qwen3_vl", seed=0)
    with _seeded():
        model = _qwen3_5(donor.config)
    family = dataclasses.replace(
        FAMILIES["qwen3_vl"],
        model_class="Qwen3_5ForConditionalGeneration",
        attention="recurrent",
    )
    return _policy(model, processor, family)


def _seeded():
    import contextlib

    import torch

    @contextlib.contextmanager
    def inside():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield

    return inside()


def _policy(model: Any, processor: Any, family: Any):
    import torch

    from mmrl.families import media_token_ids
    from mmrl.model import Policy

    end = processor.tokenizer.eos_token_id
    model.generation_config.eos_token_id = end
    if family.prepare is not None:
        family.prepare(model)
    return Policy(
        model=model.float(),
        processor=processor,
        family=family,
        banned_ids=media_token_ids(model),
        end_ids=(end,),
        dtype=torch.float32,
    )


def _gemma3(tokenizer: Any):
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
    from transformers.models.gemma3.image_processing_gemma3 import Gemma3ImageProcessor

    from mmrl.tiny.models import CHAT_TEMPLATE

    tokenizer.boi_token, tokenizer.eoi_token = "<|vision_bos|>", "<|vision_eos|>"
    ids = tokenizer.get_vocab()
    tokenizer.boi_token_id = ids["<|vision_bos|>"]
    config = Gemma3Config(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "initializer_range": 0.05,
            "pad_token_id": ids["<|pad|>"],
            "eos_token_id": ids["<|im_end|>"],
            "bos_token_id": None,
        },
        vision_config={
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 56,
            "patch_size": 14,
            "vision_use_head": False,
        },
        mm_tokens_per_image=4,
        boi_token_index=ids["<|vision_bos|>"],
        eoi_token_index=ids["<|vision_eos|>"],
        image_token_index=ids["<|IMAGE|>"],
    )
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": 56, "width": 56}),
        tokenizer,
        image_seq_length=4,
        # the processor writes a picture's tokens behind the one that opens it
        chat_template=CHAT_TEMPLATE.replace("<|IMAGE|><|vision_eos|>", ""),
    )
    return Gemma3ForConditionalGeneration(config), processor


def _gemma3_family():
    from mmrl.families import FAMILIES

    def processing(policy, text, decoded, media):
        images = [list(decoded.images)] if decoded.images else None
        found = dict(policy.processor(text=[text], images=images, return_tensors="pt"))
        del found["token_type_ids"]  # every forward counts them anew
        return found

    def feature_counts(model, media):
        return {"image": len(media.get("pixel_values", ())) * model.config.mm_tokens_per_image}

    def mark_pictures(model, arguments, inputs):
        if inputs.get("pixel_values") is None or inputs.get("input_ids") is None:
            return None
        return arguments, inputs | {
            "token_type_ids": (inputs["input_ids"] == model.config.image_token_id).long()
        }

    return dataclasses.replace(
        FAMILIES["qwen2_audio"],
        model_class="Gemma3ForConditionalGeneration",
        processor_class="Gemma3Processor",
        media=frozenset({"image"}),
        feature_counts=feature_counts,
        processing=processing,
        prepare=lambda model: model.register_forward_pre_hook(mark_pictures, with_kwargs=True),
        attention="bidirectional_media",
    )


def _qwen3_5(like: Any):
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    text, vision = like.text_config, like.vision_config
    config = Qwen3_5Config(
        text_config={
            "vocab_size": text.vocab_size,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "linear_key_head_dim": 32,
            "linear_value_head_dim": 32,
            "linear_num_key_heads": 4,
            "linear_num_value_heads": 4,
            "initializer_range": 0.05,
            "tie_word_embeddings": True,
            "pad_token_id": text.pad_token_id,
            "eos_token_id": text.eos_token_id,
            # a quarter of a head's dimensions turns, which the three axes share
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10.0,
                "partial_rotary_factor": 0.25,
                "mrope_section": [3, 3, 2],
            },
        },
        vision_config={
            "depth": 2,
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_heads": 4,
            "patch_size": vision.patch_size,
            "out_hidden_size": 128,
            "num_position_embeddings": 64,
        },
        image_token_id=like.image_token_id,
        video_token_id=like.video_token_id,
        vision_start_token_id=like.vision_start_token_id,
        vision_end_token_id=like.vision_end_token_id,
        tie_word_embeddings=True,
    )
    return Qwen3_5ForConditionalGeneration(config)
