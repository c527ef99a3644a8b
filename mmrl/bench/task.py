"""The prompts that a step is measured on: one picture and a line of text, exactly P tokens long,
and G completions of exactly C tokens each.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from math import isqrt

import numpy as np

from mmrl.config.schema import MediaConfig
from mmrl.errors import ConfigError
from mmrl.model import Policy
from mmrl.prompt import Prompts
from mmrl.types import Completion, Medium, Row, VerifierTerm

PATCH = 28
"""Pixels on a side of what becomes one visual token."""
MEDIA = MediaConfig(image_min_pixels=PATCH**2, image_max_pixels=10**8)


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """The lengths of a step."""

    prompts: int
    prompt_tokens: int
    completion_tokens: int
    group_size: int

    @property
    def token_bound(self) -> float:
        """Tokens that a step has without sharing over those that it has with it:
        G (P + C) / (P + G C).
        """
        shared = self.prompt_tokens + self.group_size * self.completion_tokens
        plain = self.group_size * (self.prompt_tokens + self.completion_tokens)
        return plain / shared


def make_rows(policy: Policy, workload: Workload) -> list[Row]:
    """Rows whose prompts have exactly the workload's tokens.

    Raises:
        ConfigError: the prompt is too short for a picture and the chat template.
    """
    bare = len(Prompts(policy=policy, media=MEDIA)(_row(0, 1, 1, "")).ids) - 1
    room = workload.prompt_tokens - bare
    if room < 1:
        raise ConfigError(
            f"--prompt-tokens: {workload.prompt_tokens}; a picture and the chat template take "
            f"{bare + 1}"
        )
    high = isqrt(room)
    wide = room // high
    # every ' a' is one token of the tokenizer
    text = " a" * (room - high * wide)
    rows = [_row(number, high, wide, text) for number in range(workload.prompts)]
    found = len(Prompts(policy=policy, media=MEDIA)(rows[0]).ids)
    if found != workload.prompt_tokens:
        raise ConfigError(
            f"--prompt-tokens: a prompt of {workload.prompt_tokens} came out as {found} tokens; "
            f"pictures of this family are not one token per {PATCH} x {PATCH} pixels"
        )
    return rows


def make_completions(policy: Policy, workload: Workload, *, seed: int) -> list[list[Completion]]:
    """Completions [P][G] of random tokens that stand for no medium and end nothing."""
    generator = np.random.default_rng(seed)
    taken = {*policy.banned_ids, *policy.end_ids, policy.pad_id}
    allowed = [
        i for i in range(min(policy.vocabulary, len(policy.processor.tokenizer))) if i not in taken
    ]
    shape = (workload.prompts, workload.group_size, workload.completion_tokens)
    draws = generator.choice(allowed, size=shape).tolist()
    return [
        [
            Completion(ids=tuple(ids), logprobs=(0.0,) * len(ids), text="", stop="length")
            for ids in group
        ]
        for group in draws
    ]


def _row(number: int, high: int, wide: int, text: str) -> Row:
    from PIL import Image

    generator = np.random.default_rng(number)
    pixels = generator.integers(0, 255, (high * PATCH, wide * PATCH, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    medium = Medium(kind="image", source=file.getvalue())
    parts = [{"type": "image", "image": medium}, {"type": "text", "text": text}]
    return Row(
        id=f"bench-{number}",
        source="bench",
        prompt=({"role": "user", "content": parts},),
        answer="",
        verifier=(VerifierTerm(name="exact"),),
        where="bench",
    )
