"""Format: thinking in `<think>`, then the answer in `<answer>`, and nothing around them.

Strict is the full match that most systems ask for. V-Triune (arXiv 2505.18129) gives a quarter
point for every tag that occurs exactly once: its paper counts bare tags (`quarters`), its code
tags with their line breaks (`quarters_newline`). R1-Reward (arXiv 2505.02835) allows nothing
between the two blocks (`between: nothing`).
"""

from __future__ import annotations

import re
from typing import Literal

from mmrl.reward import Judge, verifier
from mmrl.types import Sample

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
TAGS_NEWLINE = ("<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>")


@verifier(term=True, paper="V-Triune, arXiv 2505.18129")
def think_answer(
    *,
    credit: Literal["strict", "quarters", "quarters_newline"] = "strict",
    between: Literal["space", "nothing"] = "space",
    once: bool = True,
    empty: bool = True,
) -> Judge:
    """1.0 for `<think>...</think><answer>...</answer>`, or a quarter for each tag that occurs once.

    Args:
        credit: All or nothing, or quarter points by tag, bare or with line breaks.
        between: What strict credit allows between the two blocks.
        once: Strict credit wants each tag exactly once.
        empty: Strict credit allows blocks without content.
    """
    if credit != "strict":
        tags = TAGS if credit == "quarters" else TAGS_NEWLINE
        return lambda sample: 0.25 * sum(sample.text.count(tag) == 1 for tag in tags)

    def judge(sample: Sample) -> float:
        text = sample.text.strip()
        if not (text.startswith("<think>") and text.endswith("</answer>")):
            return 0.0
        if once and any(text.count(tag) != 1 for tag in TAGS):
            return 0.0
        return float(_two_blocks(text, between=between, empty=empty))

    return judge


_GAP = {
    "space": re.compile(r"</think>\s*<answer>"),
    "nothing": re.compile(r"</think><answer>"),
}


def _two_blocks(text: str, *, between: str, empty: bool) -> bool:
    """Tell whether the text, which begins and ends rightly, is two blocks with the allowed gap."""
    start, end = len("<think>"), len(text) - len("</answer>")
    inner = text[start:end]
    first = start + len(inner) - len(inner.lstrip())
    last = start + len(inner.rstrip())
    for gap in _GAP[between].finditer(text, start):
        if gap.end() <= end and (empty or (first < gap.start() and gap.end() < last)):
            return True
    return False
