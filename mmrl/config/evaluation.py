"""The keys that say when held-out rows and benchmarks are answered and scored."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from mmrl.config.section import Section


class BenchmarkSource(Section):
    """Where the items of a benchmark come from, and how long its answers may be."""

    path: Path | None = None
    """A file or folder of its items; without it, the benchmark's place on the hub."""
    split: str | None = None
    """By default the benchmark's first; `mmrl eval tasks NAME` lists them."""
    limit: int | None = Field(default=None, ge=1)
    """Answer only the first so many items."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """By default as held-out rows are answered."""


class EvalConfig(Section):
    """When and how held-out rows are scored: greedy decoding, the row's own verifier."""

    every: int = Field(default=0, ge=0)
    """Evaluate after every so many steps; 0 means at the start and the end of the stage only."""
    batch_size: int = Field(default=64, ge=1)
    limit: int | None = Field(default=None, ge=1)
    """Score only the first so many held-out rows."""
    benchmarks: dict[str, BenchmarkSource] = Field(default_factory=dict)
    """Benchmarks of eval/, by name, that are answered and scored whenever held-out rows are."""
