"""The format of Video-Thinker: moments of the video in the chain of thought (arXiv 2510.23473).

The completion is one or more triples of `<time>`, `<caption>` and `<think>`, then an `<answer>`.
Each block holds something, and only white space stands between blocks.

    <time>1-2</time><caption>A</caption><think>B</think><answer>C</answer> -> 1
    <think>B</think><answer>C</answer> -> 0
"""

from __future__ import annotations

from mmrl.reward import Judge, verifier
from mmrl.types import Sample, Verdict

TRIPLE = ("time", "caption", "think")


@verifier(modality="video", term=True, paper="Video-Thinker, arXiv 2510.23473")
def segments(*, at_least: int = 1) -> Judge:
    """1.0 for triples of time, caption and thought before the answer; `parts["count"]` counts them.

    Args:
        at_least: Triples that there have to be.
    """
    if at_least < 1:
        raise ValueError(f"at_least must be at least 1, got {at_least}")

    def judge(sample: Sample) -> Verdict:
        count, rest = 0, sample.text.strip()
        while (after := _without_triple(rest)) is not None:
            count, rest = count + 1, after
        whole = _without_block(rest, "answer") == "" and count >= at_least
        return Verdict(score=float(whole), parts={"count": float(count)})

    return judge


def _without_triple(text: str) -> str | None:
    """Return what follows a triple that the text begins with, or None."""
    for tag in TRIPLE:
        after = _without_block(text, tag)
        if after is None:
            return None
        text = after
    return text


def _without_block(text: str, tag: str) -> str | None:
    """Return what follows a block that the text begins with, or None; blocks are not nested."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    inside, found, after = text.removeprefix(opening).partition(closing)
    if not text.startswith(opening) or not found or not inside.strip() or opening in inside:
        return None
    return after.lstrip()
