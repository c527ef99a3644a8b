"""What every synthetic task reads and returns; no pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What all rows of a build have in common."""

    difficulty: float
    """0 to 1."""
    image_size: int
    """Pixels per side, of pictures and frames."""
    frames: int
    fps: float
    sampling_rate: int
    grid: tuple[int, int]
    """Rows and columns of a jigsaw."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Question:
    """One medium with a question, its answer and the evidence for it."""

    medium: np.ndarray
    """Pixels [H, W, 3], frames [T, H, W, 3] or samples [S]."""
    answer: Any
    evidence: str
    """A few words that a reader could say before the answer."""
    fill: dict[str, str] = field(default_factory=dict)
    """Words for the gaps in the task's wording."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """How to make one kind of question."""

    kind: Literal["image", "video", "audio"]
    make: Callable[[Random, Settings], Question]
    verifier: str
    wordings: tuple[str, ...]
    """Ways to ask; the first one is the default."""
    keys: dict[str, Any] = field(default_factory=dict)
    """Further keys of the row."""
