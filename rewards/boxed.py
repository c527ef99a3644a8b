r"""Format: the answer in a `\boxed{}`, alone or, as Visual Jigsaw (arXiv 2509.25190) asks, after
thinking.

so \boxed{42} -> 1
so 42 -> 0
"""

from __future__ import annotations

from mmrl.answer import in_box
from mmrl.reward import Judge, verifier
from mmrl.types import Sample


@verifier(term=True, paper="Visual Jigsaw, arXiv 2509.25190")
def boxed(*, think: bool = False) -> Judge:
    r"""1.0 when the completion holds a `\boxed{}` with balanced braces and something in it.

    Args:
        think: The completion must begin with `<think>`, and the box come after `</think>`.
    """

    def judge(sample: Sample) -> float:
        text = sample.text.strip()
        if think:
            _, closed, text = text.partition("</think>")
            if not closed or not sample.text.lstrip().startswith("<think>"):
                return 0.0
        return float(bool(in_box(text)))

    return judge
