"""A bonus for right answers of a good length.

Video-R1 (arXiv 2503.21776) gives 0.2 to right answers of 320 to 512 tokens when more than one
sibling is right; EchoInk-R1 (arXiv 2505.04623) uses 160 to 256: `low=160, high=256`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.reward import GroupJudge, group_reward
from mmrl.types import Sample
from mmrl.verify.accuracy import accuracy_of, judge_known


@group_reward(paper="Video-R1, arXiv 2503.21776")
def length_band(
    *,
    low: float = 320,
    high: float = 512,
    bonus: float = 0.2,
    above: float = 0.1,
    at_least: int = 2,
) -> GroupJudge:
    """`bonus` for every right sibling whose length is in the band, when enough siblings are right.

    Args:
        low: Shortest length in tokens that earns the bonus.
        high: Longest length that earns it.
        bonus: What is earned.
        above: An accuracy above this counts as right.
        at_least: So many siblings must be right.
    """
    if low > high:
        raise ValueError(f"low ({low:g}) is above high ({high:g})")

    def judge(samples: Sequence[Sample]) -> list[float]:
        right = [accuracy_of(sample) > above for sample in samples]
        if sum(right) < at_least:
            return [0.0] * len(samples)
        pairs = zip(samples, right, strict=True)
        return [bonus if good and low <= sample.length <= high else 0.0 for sample, good in pairs]

    return lambda samples: judge_known(samples, judge)
