"""How long answers to questions of each difficulty are, for length targets that move with training
(LASER-D, arXiv 2505.15612).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Level = Literal["easy", "medium", "hard"]
MONITORED = "monitored_lengths"
"""Key of a row's extra: by level, the tokens of the responses that the targets go by."""
ROLLOUTS = 8
"""Rollouts per prompt that LASER-D counts with."""


def level(right: int, total: int) -> Level:
    """Return how hard a question is, by how many of its answers are right."""
    if 3 * right >= 2 * total:
        return "easy"
    return "medium" if 3 * right >= total else "hard"


def target_length(
    lengths: Sequence[int], level: Level, *, lower: int = 1024, upper: int = 16384
) -> int:
    """Return the shortest target that would leave a question of this level one right answer.

    Args:
        lengths: Tokens of monitored responses to questions of the level.
        level: How hard they are.
        lower: The shortest target considered; the next are the multiples of 1024 above it.
        upper: The longest one, and the target where none is enough.
    """
    expected = {"easy": ROLLOUTS * 2 // 3, "medium": ROLLOUTS // 3, "hard": 1}[level]
    candidates = [lower, *range((lower // 1024 + 1) * 1024, upper + 1, 1024)]
    for candidate in candidates:
        covered = sum(length <= candidate for length in lengths)
        if lengths and covered * expected >= len(lengths):
            return candidate
    return upper
