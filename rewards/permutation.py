"""An order: exactly right, or with credit for the positions that are right.

With `partial=0.2` this is the rule of Visual Jigsaw (arXiv 2509.25190): 1 for the exact order, 0.2
times the share of right positions for another true permutation of the same items, 0 for the rest.
"""

from __future__ import annotations

from mmrl.answer import BadGold, NoAnswer, answered, items
from mmrl.reward import Judge, verifier
from mmrl.types import Sample


@verifier(paper="Visual Jigsaw, arXiv 2509.25190")
def permutation(*, partial: float = 0.0, whole_text: bool = False) -> Judge:
    """1.0 for the row's order; `partial` times the share of right positions for another order.

    Args:
        partial: Credit for a true permutation of the row's items that is not the right one.
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """
    if not 0 <= partial <= 1:
        raise ValueError(f"partial is a share, 0 to 1, got {partial}")

    def judge(sample: Sample) -> float:
        gold = items(sample.row.answer)
        if not gold:
            raise BadGold("the row's answer lists nothing")
        answer = items(answered(sample, whole_text=whole_text))
        if not answer:
            raise NoAnswer("the answer lists nothing")
        if answer == gold:
            return 1.0
        if partial == 0 or sorted(answer) != sorted(gold):
            return 0.0
        return partial * sum(a == g for a, g in zip(answer, gold, strict=True)) / len(gold)

    return judge
