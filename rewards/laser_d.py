"""LASER-D and LASER-DE (arXiv 2505.15612): the target length depends on how hard the question is.

A group with at least two thirds right is easy, with at least a third medium, else hard; each level
has its own target. A right answer within it earns the bonus. LASER-DE (`explore`) also gives it to
wrong answers that are longer and do not repeat themselves. With `moving`, a level's target is
estimated from the responses of the last steps, which whoever trains puts into the row's extra as
`monitored_lengths`; without any the targets are those given.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.reward import GroupJudge, group_reward
from mmrl.types import Sample
from mmrl.verify.accuracy import is_right, judge_known
from mmrl.verify.lengths import MONITORED, Level, level
from mmrl.verify.lengths import target_length as target_length
from mmrl.verify.repeats import has_close_repeats

LONG_WORDS = 200
"""Shorter texts are not looked at for repetition."""


@group_reward(paper="LASER, arXiv 2505.15612", facts=(MONITORED,))
def laser_d(
    *,
    easy: float = 16384,
    medium: float = 16384,
    hard: float = 16384,
    bonus: float = 0.5,
    explore: bool = False,
    base: bool = False,
    right: float = 1.0,
    moving: bool = False,
    lower: int = 1024,
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
        moving: Estimate the targets from responses of the last steps, every 20 steps; those given
            are then the longest ones.
        lower: The shortest target that is estimated.
    """
    targets: dict[Level, float] = {"easy": easy, "medium": medium, "hard": hard}

    def judge(samples: Sequence[Sample]) -> list[float]:
        good = [is_right(sample, right) for sample in samples]
        found = level(sum(good), len(good))
        target = targets[found]
        if moving and (lengths := samples[0].row.extra.get(MONITORED, {}).get(found)):
            target = target_length(lengths, found, lower=lower, upper=int(target))
        scores = []
        for sample, is_good in zip(samples, good, strict=True):
            short = sample.length <= target
            earns = short if is_good else explore and not short and not _repeats(sample.text)
            own = (1.0 if is_good else -0.5) if base else 0.0
            scores.append(own + (bonus if earns else 0.0))
        return scores

    return lambda samples: judge_known(samples, judge)


def _repeats(text: str) -> bool:
    words = text.split()
    return len(words) >= LONG_WORDS and has_close_repeats(words, n=4, times=3)
