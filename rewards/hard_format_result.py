"""Vision-R1's hard-formatting result reward (arXiv 2503.06749): right form and right answer, or
nothing.
"""

from __future__ import annotations

import re

from mmrl.reward import Judge, verifier
from mmrl.types import Sample
from mmrl.verify.accuracy import is_right

_GAP = re.compile(r"</think>\s*<answer>")
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@verifier(term=True, paper="Vision-R1, arXiv 2503.06749")
def hard_format_result(*, right: float = 1.0) -> Judge:
    """1.0 when the completion is `<think>...</think> <answer>...</answer>` and its answer is right.

    A whole reward: give the term `accuracy` the weight 0 beside it.

    Args:
        right: The accuracy from which an answer counts as right.
    """

    def judge(sample: Sample) -> float:
        text = sample.text.strip()
        framed = text.startswith("<think>") and text.endswith("</answer>")
        once = framed and all(text.count(tag) == 1 for tag in TAGS)
        return float(is_right(sample, right) and once and _GAP.search(text) is not None)

    return judge
