"""LASER-D and LASER-DE (arXiv 2505.15612): the target length depends on how hard the question is.

A group with at least two thirds right is easy, with at least a third medium, else hard; each level
has its own target. A right answer within it earns the bonus. LASER-DE (`explore`) also gives it to
wrong answers that are longer and do not repeat themselves. `target_length` estimates a level's
target from monitored responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mmrl.reward import GroupJudge, group_reward
from mmrl.types import Sample
from mmrl.verify.accuracy import is_right, judge_known
from mmrl.verify.repeats import has_close_repeats

Level = Literal["easy", "medium", "hard"]
ROLLOUTS = 8
"""Rollouts per prompt that LASER-D counts with."""
LONG_WORDS = 200
"""Shorter texts are not looked at for repetition."""


@group_reward(paper="LASER, arXiv 2505.15612")
def laser_d(
    *,
    easy: float = 16384,
    medium: float = 16384,
    hard: float = 16384,
    bonus: float = 0.5,
    explore: bool = False,
    base: bool = False,
    right: float = 1.0,
) -> GroupJudge:
    """The bonus of each sibling by the target length of the group's difficulty.

    Args:
        easy: Target in tokens where at least two thirds of the siblings are right.
        medium: Target where at least a third is right.
        hard: Target where fewer are.
        bonus: What a right answer within the target earns.
        explore: LASER-DE: longer wrong answers that do not repeat themselves earn it too.
        base: Add LASER's own score of the answer, 1 or -0.5, as a whole reward.
        right: The accuracy from which a sibling counts as right.
    """
    targets = {"easy": easy, "medium": medium, "hard": hard}

    def judge(samples: Sequence[Sample]) -> list[float]:
        good = [is_right(sample, right) for sample in samples]
        target = targets[level(sum(good), len(good))]
        scores = []
        for sample, is_good in zip(samples, good, strict=True):
            short = sample.length <= target
            earns = short if is_good else explore and not short and not _repeats(sample.text)
            own = (1.0 if is_good else -0.5) if base else 0.0
            scores.append(own + (bonus if earns else 0.0))
        return scores

    return lambda samples: judge_known(samples, judge)


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


def _repeats(text: str) -> bool:
    words = text.split()
    return len(words) >= LONG_WORDS and has_close_repeats(words, n=4, times=3)
