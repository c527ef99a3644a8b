"""A number with credit for closeness, as Video-R1 (arXiv 2503.21776) and EchoInk-R1 (arXiv
2505.04623) give it.
"""

from __future__ import annotations

from mmrl.answer import BadGold, NoAnswer, answered, as_text
from mmrl.reward import Judge, verifier
from mmrl.types import Sample
from mmrl.verify.numbers import last_number

EPS = 1e-9


@verifier(paper="EchoInk-R1, arXiv 2505.04623")
def regression(*, whole_text: bool = False) -> Judge:
    """1 - |answer - gold| / (|gold| + 1e-9), not below 0.

    Video-R1's code adds 1e-9 to the error as well, so that even a right answer is not quite 1;
    that is left out.

    Args:
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """

    def judge(sample: Sample) -> float:
        written = as_text(sample.row.answer)
        gold = last_number(written)
        if gold is None:
            raise BadGold(f"{written[:40]!r} holds no number")
        value = last_number(answered(sample, whole_text=whole_text))
        if value is None:
            raise NoAnswer("no number in the answer")
        return max(0.0, 1.0 - float(abs(value - gold)) / (float(abs(gold)) + EPS))

    return judge
