"""VL-Cogito's dynamic length reward (arXiv 2507.22607): be about as long as the siblings that are
right.

The target T is the mean length of the right siblings, or `target` where none is right. The paper
gives every rollout -1 + (1 - cos(pi L / T)) / 2: 0 at the target, -1 for nothing and for twice the
target; beyond that it stays -1 here, where the plain cosine would rise again.

The code gives only wrong rollouts a term: between -0.5 and 0 where a sibling is right; half of
that, with 0 from the target up to `max_length`, where none is; less up to 0.5 for repeating itself
(20-grams of words).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi
from statistics import fmean
from typing import Literal

from mmrl.reward import GroupJudge, group_reward
from mmrl.types import Sample
from mmrl.verify.accuracy import is_right, judge_known
from mmrl.verify.repeats import repeated_share


@group_reward(paper="VL-Cogito, arXiv 2507.22607")
def dylr(
    *,
    variant: Literal["paper", "code"] = "paper",
    target: float = 750.0,
    max_length: float = 4096.0,
    right: float = 1.0,
) -> GroupJudge:
    """The length term alone, -1 to 0; accuracy and format are terms of their own.

    Args:
        variant: As the paper prints it, or as the released code computes it.
        target: Length in tokens to aim at where no sibling is right.
        max_length: The code's limit from which a group without a right answer gets the full
            penalty.
        right: The accuracy from which a sibling counts as right.
    """
    if target <= 0 or max_length <= 0:
        raise ValueError("lengths are positive")

    def judge(samples: Sequence[Sample]) -> list[float]:
        good = [sample.length for sample in samples if is_right(sample, right)]
        aim = max(1.0, fmean(good)) if good else target
        if variant == "paper":
            return [_cosine(sample.length / aim) for sample in samples]
        return [
            0.0
            if is_right(sample, right)
            else _wrong(sample, aim, any_right=bool(good), max_length=max_length)
            for sample in samples
        ]

    return lambda samples: judge_known(samples, judge)


def _cosine(share: float) -> float:
    """Return -1 at 0, 0 at 1, -1 from 2 on."""
    return -1.0 if share >= 2 else -1.0 + (1.0 - cos(pi * share)) / 2


def _wrong(sample: Sample, aim: float, *, any_right: bool, max_length: float) -> float:
    repeated = -0.5 * repeated_share(sample.text, n=20)
    if any_right:
        return 0.5 * _cosine(sample.length / aim) + repeated
    if sample.length >= max_length:
        return -0.25 + repeated
    if sample.length >= aim:
        return repeated
    return 0.25 * _cosine(sample.length / aim) + repeated
