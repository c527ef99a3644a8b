"""A bonus for the shortest right answer of the group, if it is not too short to reason (Observe-R1,
arXiv 2505.12432).

The shortest sibling with full accuracy gets 0.2 if it is longer than 100 tokens; nobody gets it
when nobody is right, where Observe-R1's released code pays the first sibling.

    right answers of 150 and 120 tokens, wrong ones of any length -> 0.2 for the one of 120
"""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.reward import GroupJudge, group_reward
from mmrl.siblings import accuracies
from mmrl.types import Sample


@group_reward(paper="Observe-R1, arXiv 2505.12432")
def concise_bonus(
    *, bonus: float = 0.2, min_length: int = 100, right: float = 1.0, verifier: str | None = "exact"
) -> GroupJudge:
    """A bonus for the shortest right sibling.

    Args:
        bonus: What it gets.
        min_length: It has to be longer than this, in tokens; otherwise nobody gets the bonus.
        right: The accuracy from which a sibling is right.
        verifier: Who says what is right where the rubric has no term `accuracy`.
    """

    def judge(samples: Sequence[Sample]) -> list[float]:
        found = accuracies(samples, verifier)
        lengths = [
            (sample.length, place)
            for place, (sample, accuracy) in enumerate(zip(samples, found, strict=True))
            if accuracy is not None and accuracy >= right
        ]
        scores = [0.0] * len(samples)
        if lengths and min(lengths)[0] > min_length:
            scores[min(lengths)[1]] = bonus
        return scores

    return judge
