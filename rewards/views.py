"""What was done to a view of an image, as a word: rotation, contrastive pair, position.

The stripped answer has to be the row's answer, letter for letter; a row may name several right
answers with commas between (SSL4RL, arXiv 2510.16416). There is no reward for the format.

    rotation, answer "90": <answer>90</answer> -> 1
                           <answer>90 degrees</answer> -> 0, and 1 with `lenient`
"""

from __future__ import annotations

import re

from mmrl.answer import BadGold, answered, as_text
from mmrl.reward import Judge, verifier
from mmrl.types import Sample

PAPER = "SSL4RL, arXiv 2510.16416"
_DEGREES = re.compile(
    r"([-+]?[0-9]{1,6}(?:\.[0-9]{1,6})?)\s*(?:\u00b0|degrees?|deg)?\.?", re.IGNORECASE
)


@verifier(modality="image", paper=PAPER)
def rotation(*, lenient: bool = False, whole_text: bool = False) -> Judge:
    """1.0 for the right angle in degrees.

    Args:
        lenient: Compare angles instead of letters: `90 degrees`, `-270` and `450` are 90.
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """
    if not lenient:
        return _same_word(case=True, whole_text=whole_text)

    def judge(sample: Sample) -> float:
        angles = [_angle(part) for part in _alternatives(sample)]
        if None in angles:
            raise BadGold(f"{sample.row.answer!r} is no angle")
        return float(_angle(answered(sample, whole_text=whole_text)) in angles)

    return judge


@verifier(modality="image", paper=PAPER)
def contrastive(*, case: bool = True, whole_text: bool = False) -> Judge:
    """1.0 for the right one of `positive` (two views of one image) and `negative`.

    Args:
        case: True where upper and lower case differ.
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """
    return _same_word(case=case, whole_text=whole_text)


@verifier(modality="image", paper=PAPER)
def position(*, case: bool = True, whole_text: bool = False) -> Judge:
    """1.0 for the quadrant that the crop came from: `top-left`, `top-right`, `bottom-left`,
    `bottom-right`.

    Args:
        case: True where upper and lower case differ.
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """
    return _same_word(case=case, whole_text=whole_text)


def _same_word(*, case: bool, whole_text: bool) -> Judge:
    def judge(sample: Sample) -> float:
        right = _alternatives(sample)
        found = answered(sample, whole_text=whole_text).strip()
        if not case:
            right, found = [part.casefold() for part in right], found.casefold()
        return float(found in right)

    return judge


def _alternatives(sample: Sample) -> list[str]:
    parts = [part.strip() for part in as_text(sample.row.answer).split(",")]
    if not all(parts):
        raise BadGold(f"{sample.row.answer!r} is no answer")
    return parts


def _angle(text: str) -> float | None:
    match = _DEGREES.fullmatch(text.strip())
    return float(match.group(1)) % 360 if match else None
