"""LASER (arXiv 2505.15612): a right answer within the target length earns a bonus.

right, 4000 tokens, target 4096 -> 0.5 (with base: 1.5)
right, 5000 tokens -> 0 (1.0);  wrong, 4000 tokens -> 0 (-0.5)
"""

from __future__ import annotations

from typing import Literal

from mmrl.reward import Judge, verifier
from mmrl.types import Sample
from mmrl.verify.accuracy import is_right


@verifier(term=True, paper="LASER, arXiv 2505.15612")
def laser(
    *,
    target: float = 4096,
    bonus: float = 0.5,
    mode: Literal["reward", "penalty", "hybrid"] = "reward",
    base: bool = False,
    right: float = 1.0,
) -> Judge:
    """The bonus of a right answer by its length; wrong answers have none.

    Args:
        target: Length in tokens up to which a right answer is short.
        bonus: What it earns, or loses.
        mode: Reward the short ones, penalise the long ones, or both.
        base: Add LASER's own score of the answer, 1 or -0.5, as a whole reward.
        right: The accuracy from which an answer counts as right.
    """

    def judge(sample: Sample) -> float:
        if not is_right(sample, right):
            return -0.5 if base else 0.0
        short = sample.length <= target
        earned = bonus if short and mode != "penalty" else 0.0
        lost = bonus if not short and mode != "reward" else 0.0
        return (1.0 if base else 0.0) + earned - lost

    return judge
