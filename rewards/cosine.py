"""The cosine reward of "Demystifying Long Chain-of-Thought" (arXiv 2502.03373).

Right answers earn less the longer they are, wrong ones lose less; from `max_length` on both get
`exceeded`. Between its ends each value follows half a cosine. The defaults are the paper's; TRL's
users know 1.0, 0.5, -1.0, -0.5.
"""

from __future__ import annotations

from math import cos, pi

from mmrl.reward import Judge, verifier
from mmrl.types import Sample
from mmrl.verify.accuracy import is_right


@verifier(term=True, paper="Demystifying Long CoT, arXiv 2502.03373")
def cosine(
    *,
    right_short: float = 2.0,
    right_long: float = 1.0,
    wrong_short: float = -10.0,
    wrong_long: float = 0.0,
    exceeded: float = -10.0,
    max_length: float = 16384,
    right: float = 1.0,
) -> Judge:
    """A whole reward by correctness and length: give the term `accuracy` the weight 0 beside it.

    Args:
        right_short: For a right answer of no length.
        right_long: For a right answer of `max_length`.
        wrong_short: For a wrong answer of no length.
        wrong_long: For a wrong answer of `max_length`.
        exceeded: From `max_length` on, right or wrong.
        max_length: Tokens.
        right: The accuracy from which an answer counts as right.
    """
    if max_length <= 0:
        raise ValueError("max_length is positive")

    def judge(sample: Sample) -> float:
        good = is_right(sample, right)
        if sample.length >= max_length:
            return exceeded
        start, end = (right_short, right_long) if good else (wrong_short, wrong_long)
        return start + (end - start) * (1 - cos(pi * sample.length / max_length)) / 2

    return judge
