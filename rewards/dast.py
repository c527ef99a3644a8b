"""Length by how hard the question is.

The term that makes UI-R1 efficient (UI-R1-E, arXiv 2503.21620). With p the share of right siblings,
the budget is p * (mean length of the right ones) + (1 - p) * (longest of the group), and x =
(length - budget) / budget. A right sibling gets max(0.5 - 0.5 x, 0.1), a wrong one min(0.9 x - 0.1,
-0.1): the easier the question, the shorter the budget.

    right 100 and 200 tokens, wrong 300 and 400 -> budget 275 -> 0.8182, 0.6364, -0.1, -0.1
"""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.reward import GroupJudge, group_reward
from mmrl.types import Sample
from mmrl.verify.accuracy import is_right, judge_known


@group_reward(paper="UI-R1, arXiv 2503.21620")
def dast(*, right: float = 1.0) -> GroupJudge:
    """A length term whose budget shrinks where more siblings are right.

    Args:
        right: The accuracy from which a sibling is right; UI-R1 asks for all 3 points of
            `gui_action`.
    """

    def judge(samples: Sequence[Sample]) -> list[float]:
        lengths = [sample.length for sample in samples]
        return length_terms(lengths, [is_right(sample, right) for sample in samples])

    return lambda samples: judge_known(samples, judge)


def length_terms(lengths: Sequence[int], are_right: Sequence[bool]) -> list[float]:
    """Return the term of each sibling.

    >>> [round(term, 4) for term in length_terms([100, 200, 300, 400], [True, True, False, False])]
    [0.8182, 0.6364, -0.1, -0.1]
    """
    of_right = [length for length, good in zip(lengths, are_right, strict=True) if good]
    share = len(of_right) / len(lengths)
    mean = sum(of_right) / len(of_right) if of_right else 0.0
    budget = share * mean + (1 - share) * max(lengths)
    if budget <= 0:
        raise ValueError("the completions have no lengths")
    over = [(length - budget) / budget for length in lengths]
    return [
        max(0.5 - 0.5 * x, 0.1) if good else min(0.9 * x - 0.1, -0.1)
        for x, good in zip(over, are_right, strict=True)
    ]
