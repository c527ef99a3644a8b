"""The keys of low-rank adapters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmrl.config.section import Section

Targets = Literal["language", "language+connector", "language+encoders", "all"]
Freeze = Literal["none", "vision", "vision+connector", "encoders", "encoders+connector"]


class LoraConfig(Section):
    """Only low-rank adapters learn (LoRA, arXiv 2106.09685); the weights that the stage begins with
    stay as they are, and are the reference of the KL term without a second copy. Needs the extra
    `peft`.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    """The adapter's part is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On what enters an adapter, while learning."""
    targets: Targets | tuple[str, ...] = "language"
    """Which linear layers have an adapter: those of the language model, also those of the connector
    or of the media encoders, all; or regular expressions on their names."""
    rslora: bool = False
    """Multiply by alpha / sqrt(rank) instead (arXiv 2312.03732)."""
    dora: bool = False
    """Let the length of each weight vector learn by itself (arXiv 2402.09353)."""
    quantize: Literal["none", "nf4"] = "none"
    """Hold the other weights in four bits (QLoRA, arXiv 2305.14314); needs a GPU and
    bitsandbytes."""
