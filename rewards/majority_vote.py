"""Agreement with the siblings: 1.0 for the answer that most of the group gave.

After MM-UPT (arXiv 2505.22453). It needs no gold answer. An answer that could not be extracted has
no vote and gets nothing, where MM-UPT's released code lets it win; among equally many votes the
answer that came first wins.

    five answers 5, 5, 3, 5, 2 -> 1, 1, 0, 1, 0
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from mmrl.answer import NoAnswer, answered, squash
from mmrl.reward import GroupJudge, group_reward
from mmrl.types import Sample, Verdict
from mmrl.verify.numbers import to_decimal


@group_reward(paper="MM-UPT, arXiv 2505.22453")
def majority_vote(
    *, equality: Literal["value", "text"] = "value", whole_text: bool = False
) -> GroupJudge:
    """1.0 for the most frequent answer of the group.

    Args:
        equality: Answers are the same when numbers have the same value and texts the same words
            (`value`), or only letter for letter (`text`).
        whole_text: An answer is the whole completion where it holds neither a tag nor a box.
    """

    def vote(sample: Sample) -> Decimal | str | None:
        try:
            answer = answered(sample, whole_text=whole_text)
        except NoAnswer:
            return None
        return _meaning(answer) if equality == "value" else answer

    def judge(samples: Sequence[Sample]) -> list[Verdict]:
        votes = [vote(sample) for sample in samples]
        counts = Counter(one for one in votes if one is not None)
        entropy = _entropy(counts)
        winner = max(counts, key=lambda one: counts[one], default=None)
        share = counts[winner] / len(samples) if winner is not None else 0.0
        none = Verdict(score=0.0, status="no_answer", detail="majority_vote: no answer, no vote")
        parts = {"agreement": share, "entropy": entropy}
        return [
            none if one is None else Verdict(score=float(one == winner), parts=parts)
            for one in votes
        ]

    return judge


def _meaning(answer: str) -> Decimal | str:
    """Return what answers that mean the same have in common: a number's value, or the words."""
    text = squash(answer).strip("$").strip()
    number = to_decimal(text) if text else None
    return text if number is None else number


def _entropy(counts: Counter[Decimal | str]) -> float:
    """Return the entropy of the votes in nats, MM-UPT's measure of how unsure the group is."""
    total = counts.total()
    return -sum(n / total * math.log(n / total) for n in counts.values()) + 0.0
