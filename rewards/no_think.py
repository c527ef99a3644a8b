"""Format of answering without thinking first, in the forms of CLS-RL (arXiv 2503.16188).

bare      the answer alone, without any tag ("No-Thinking")
answer    an `<answer>` block alone
after     an `<answer>` block, then a `<reason>` block ("Think-after-answer")
adaptive  an `<answer>` block, with or without a `<think>` block before it
"""

from __future__ import annotations

from typing import Literal

from mmrl.reward import Judge, verifier
from mmrl.types import Sample

Form = Literal["bare", "answer", "after", "adaptive"]
TAGS = ("think", "answer", "reason")
BLOCKS: dict[str, tuple[tuple[str, ...], ...]] = {
    "answer": (("answer",),),
    "after": (("answer", "reason"),),
    "adaptive": (("answer",), ("think", "answer")),
}


@verifier(term=True, paper="CLS-RL, arXiv 2503.16188")
def no_think(*, form: Form = "bare") -> Judge:
    """1.0 when the completion has the form and nothing around it.

    Args:
        form: Which blocks the completion is made of.
    """

    def judge(sample: Sample) -> float:
        text = sample.text.strip()
        if form == "bare":
            marks = (mark for tag in TAGS for mark in (f"<{tag}>", f"</{tag}>"))
            return float(bool(text) and not any(mark in text for mark in marks))
        return float(any(is_made_of(text, blocks) for blocks in BLOCKS[form]))

    return judge


def is_made_of(text: str, blocks: tuple[str, ...]) -> bool:
    """Tell whether the text is these blocks, each once, with nothing but white space between."""
    for tag in blocks:
        opening, closing = f"<{tag}>", f"</{tag}>"
        text = text.lstrip()
        if not text.startswith(opening) or text.count(opening) != 1 or text.count(closing) != 1:
            return False
        text = text.partition(closing)[2]
    return not text.strip()
