"""A bonus for the shortest right answer of the group, if it is long enough to reason.

After Observe-R1 (arXiv 2505.12432). The shortest sibling with full accuracy gets 0.2 if it is
longer than 100 tokens; nobody gets it when nobody is right, where Observe-R1's released code pays
the first sibling.

    right answers of 150 and 120 tokens, wrong ones of any length -> 0.2 for the one of 120
"""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.reward import GroupJudge, group_reward
from mmrl.types import Sample
from mmrl.verify.accuracy import is_right, judge_known


@group_reward(paper="Observe-R1, arXiv 2505.12432")
def concise_bonus(*, bonus: float = 0.2, min_length: int = 100, right: float = 1.0) -> GroupJudge:
    """A bonus for the shortest right sibling.

    Args:
        bonus: What it gets.
        min_length: It has to be longer than this, in tokens; otherwise nobody gets the bonus.
        right: The accuracy from which a sibling is right.
    """

    def judge(samples: Sequence[Sample]) -> list[float]:
        lengths = [
            (sample.length, place)
            for place, sample in enumerate(samples)
            if is_right(sample, right)
        ]
        scores = [0.0] * len(samples)
        if lengths and min(lengths)[0] > min_length:
            scores[min(lengths)[1]] = bonus
        return scores

    return lambda samples: judge_known(samples, judge)
