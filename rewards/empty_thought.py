r"""Format of TON (arXiv 2505.16854): think or not. The thought may be left empty, its tags may not.

<think>\n\n</think><answer>3</answer> -> 1
<answer>3</answer> -> 0
"""

from __future__ import annotations

import re
from typing import Literal

from mmrl.reward import Judge, verifier
from mmrl.types import Sample, Verdict


@verifier(term=True, paper="TON, arXiv 2505.16854")
def empty_thought(*, tag: Literal["answer", "action"] = "answer") -> Judge:
    """1.0 for a thought, which may be empty, and an answer; `parts["skipped"]` says whether it was
    empty.

    Args:
        tag: The block after the thought; TON's GUI tasks write `<action>`.
    """
    gap = re.compile(rf"</think>\s*<{tag}>")
    close = f"</{tag}>"

    def judge(sample: Sample) -> Verdict:
        text = sample.text.strip()
        found = gap.search(text) if text.startswith("<think>") else None
        whole = found is not None and text.endswith(close) and found.end() <= len(text) - len(close)
        skipped = found is not None and whole and not text[len("<think>") : found.start()].strip()
        return Verdict(score=float(whole), parts={"skipped": float(skipped)})

    return judge
