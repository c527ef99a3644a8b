"""Format of Observe-R1 (arXiv 2505.12432): observe, think, answer.

`<observe>...</observe><think>...</think><answer>...</answer>`, with the observation before the
thinking or inside it, and each tag exactly once, earns half a point.
"""

from __future__ import annotations

from mmrl.reward import Judge, verifier
from mmrl.types import Sample

TAGS = ("<observe>", "</observe>", "<think>", "</think>", "<answer>", "</answer>")


@verifier(term=True, paper="Observe-R1, arXiv 2505.12432")
def observe(*, points: float = 0.5) -> Judge:
    """`points` when the three blocks are all there is, in order, and each tag occurs once.

    Args:
        points: What the right format earns.
    """

    def judge(sample: Sample) -> float:
        text = sample.text.strip()
        if any(text.count(tag) != 1 for tag in TAGS):
            return 0.0
        opened, observed, think, thought, answer, ended = map(text.index, TAGS)
        before = opened == 0 and _only_space(text, observed, "</observe>", think)
        inside = think == 0 and think < opened < observed < thought
        ordered = opened < observed < thought and think < thought < answer < ended
        whole = _only_space(text, thought, "</think>", answer) and text.endswith("</answer>")
        return points if ordered and whole and (before or inside) else 0.0

    return judge


def _only_space(text: str, start: int, tag: str, end: int) -> bool:
    return start + len(tag) <= end and not text[start + len(tag) : end].strip()
