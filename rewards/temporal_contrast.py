"""A bonus for answers that needed the order of the frames.

The reward of T-GRPO (Video-R1, arXiv 2503.21776). The same question is also answered on shuffled
frames. Where the ordered siblings are right at least 0.8 times as often, on average, every right
one gets 0.3; elsewhere nobody does. The accuracies on shuffled frames are the row's
`extra["shuffled_accuracy"]`, a list that whoever samples them puts there; rows without a video need
none.

    ordered 3 of 8 right, shuffled 1 of 4 -> 0.3 for the three;  shuffled 2 of 4 -> 0 for all
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from mmrl.answer import BadGold
from mmrl.reward import GroupJudge, group_reward
from mmrl.types import Row, Sample
from mmrl.verify.accuracy import accuracy_of, judge_known
from mmrl.verify.reading import finite

ROUNDING = 1e-9
KEY = "shuffled_accuracy"


@group_reward(modality="video", paper="Video-R1, arXiv 2503.21776", facts=(KEY,))
def temporal_contrast(*, bonus: float = 0.3, ratio: float = 0.8, right: float = 0.1) -> GroupJudge:
    """A bonus for right siblings where order helps.

    Args:
        bonus: What a right sibling gets.
        ratio: The ordered mean has to reach this share of the shuffled mean.
        right: The accuracy that a right sibling exceeds.
    """

    def judge(samples: Sequence[Sample]) -> list[float]:
        shuffled = _shuffled(samples[0].row)
        if shuffled is None:
            return [0.0] * len(samples)
        ordered = [accuracy_of(sample) for sample in samples]
        return temporal_bonus(ordered, shuffled, bonus=bonus, ratio=ratio, right=right)

    return lambda samples: judge_known(samples, judge)


def temporal_bonus(
    ordered: Sequence[float],
    shuffled: Sequence[float],
    *,
    bonus: float = 0.3,
    ratio: float = 0.8,
    right: float = 0.1,
) -> list[float]:
    """Return each ordered sibling's bonus.

    >>> temporal_bonus([1, 0, 1, 0, 1, 0, 0, 0], [1, 0, 0, 0])
    [0.3, 0.0, 0.3, 0.0, 0.3, 0.0, 0.0, 0.0]
    """
    helps = fmean(ordered) >= ratio * fmean(shuffled) - ROUNDING
    return [bonus if helps and accuracy > right else 0.0 for accuracy in ordered]


def _shuffled(row: Row) -> list[float] | None:
    """Return the accuracies on shuffled frames; None where there is no order to shuffle."""
    if KEY not in row.extra and "video" not in row.modality:
        return None
    given = row.extra.get(KEY)
    numbers = [finite(value) for value in given] if isinstance(given, list | tuple) else []
    if not numbers or None in numbers:
        raise BadGold(f"extra[{KEY!r}] is {given!r}, not a list of accuracies")
    return [number for number in numbers if number is not None]
