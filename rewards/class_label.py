"""A class name, in the four answer modes of CLS-RL (arXiv 2503.16188).

thinking     the `<answer>` tag after `<think>`; case does not matter
no_thinking  the whole completion is the label, letter for letter
after        the `<answer>` tag, followed by `<reason>`
adaptive     the `<answer>` tag, with or without `<think>` before it

The score is the accuracy, `parts["format"]` says whether the mode's form was kept; `with_format`
adds it, as the paper's rewards do except without thinking.
"""

from __future__ import annotations

import re
from typing import Literal

from mmrl.answer import BadGold, NoAnswer, answered, as_text, squash, tagged
from mmrl.reward import Judge, verifier
from mmrl.types import Row, Sample, Verdict

Mode = Literal["thinking", "no_thinking", "after", "adaptive"]


def _gold(row: Row, *, mode: Mode = "thinking") -> str:
    return as_text(row.answer) if mode == "no_thinking" else tagged(row.answer)


@verifier(gold=_gold, paper="CLS-RL, arXiv 2503.16188")
def class_label(
    *, mode: Mode = "thinking", contains: bool = False, with_format: bool = False
) -> Judge:
    """1.0 when the answer is the row's label.

    Args:
        mode: Which form the completion was asked for.
        contains: The label only has to stand in the answer (or, without a tag, in the whole reply).
        with_format: Add the format's point to the score, except without thinking.
    """

    def judge(sample: Sample) -> Verdict:
        gold = as_text(sample.row.answer).strip()
        if not gold:
            raise BadGold("the row's answer is empty")
        form = float(_FORMS[mode].fullmatch(sample.text.strip()) is not None)
        empty = ""
        try:
            accuracy = _accuracy(sample, gold, mode=mode, contains=contains)
        except NoAnswer as error:
            accuracy, empty = 0.0, str(error)
        score = accuracy + (form if with_format and mode != "no_thinking" else 0.0)
        status = "no_answer" if empty else "ok"
        parts = {"accuracy": accuracy, "format": form}
        return Verdict(score=score, status=status, parts=parts, detail=empty)

    return judge


def _accuracy(sample: Sample, gold: str, *, mode: Mode, contains: bool) -> float:
    if contains:
        reply = squash(answered(sample, whole_text=True))
        return float(re.search(rf"(?<!\w){re.escape(squash(gold))}(?!\w)", reply) is not None)
    if mode == "no_thinking":
        if not sample.text.strip():
            raise NoAnswer("the completion is empty")
        return float(sample.text.strip() == gold)
    return float(squash(answered(sample)) == squash(gold))


_BLOCK = r"<{0}>(?:(?!</?{0}>).)*</{0}>"
_THINK, _ANSWER, _REASON = (_BLOCK.format(tag) for tag in ("think", "answer", "reason"))
_FORMS = {
    "thinking": re.compile(rf"{_THINK}\s*{_ANSWER}", re.DOTALL),
    "no_thinking": re.compile(r"[^<>]+"),
    "after": re.compile(rf"{_ANSWER}\s*{_REASON}", re.DOTALL),
    "adaptive": re.compile(rf"(?:{_THINK}\s*)?{_ANSWER}", re.DOTALL),
}
