"""Several options: the set of letters, in any order.

HumanSense (arXiv 2508.10576) gives half a point for a right but incomplete set: `partial=0.5`.
"""

from __future__ import annotations

import re
from typing import Any

from mmrl.answer import BadGold, NoAnswer, answered, as_text
from mmrl.reward import Judge, verifier
from mmrl.types import Sample


@verifier(paper="HumanSense, arXiv 2508.10576")
def multi_select(
    *, letters: str = "ABCDEFGH", partial: float = 0.0, whole_text: bool = False
) -> Judge:
    """1.0 for exactly the row's letters; `partial` for some of them and no other.

    The row's answer is `AC`, `A, C` or a list of letters.

    Args:
        letters: The options' letters.
        partial: Credit for a set without wrong letters that is not complete.
        whole_text: Judge what follows the thinking where there is neither a tag nor a box.
    """
    known = frozenset(letters.upper())

    def judge(sample: Sample) -> float:
        gold = _letters(_joined(sample.row.answer), known)
        if not gold:
            raise BadGold(
                f"{as_text(sample.row.answer)[:40]!r} names none of the letters {letters}"
            )
        answer = _letters(answered(sample, whole_text=whole_text), known)
        if not answer:
            raise NoAnswer("the answer names no option")
        if answer == gold:
            return 1.0
        return partial if answer < gold else 0.0

    return judge


def _joined(answer: Any) -> str:
    return ", ".join(map(str, answer)) if isinstance(answer, list | tuple) else as_text(answer)


def _letters(text: str, known: frozenset[str]) -> frozenset[str]:
    """Return the letters of a bare list such as "a, C" or "AC", else those that stand alone in
    prose.
    """
    bare = _BETWEEN.sub("", text).upper()
    if bare.isalpha() and frozenset(bare) <= known and len(bare) <= 4 * len(known):
        return frozenset(bare)
    return frozenset(match for match in _ALONE.findall(text) if match in known)


_BETWEEN = re.compile(r"[\s,;.:&/+()\[\]'\"]|\band\b", re.IGNORECASE)
_ALONE = re.compile(r"(?<![\w'.-])([A-Z])(?![\w'-])(?!\s[a-z])")
