"""Order in time: where each part belongs, or whether a sound runs backwards.

`temporal_jigsaw` is VideoSSR's (arXiv 2511.06281): 1 - D / floor(n^2 / 2), with D the sum over the
parts of how far each is from its place, which reaches 0 when the order is reversed; an answer that
is no permutation gets 0. `audio_order` applies it to the pieces of a sound and `audio_reversal`
asks which sound runs backwards; no paper has the last two.

    answer "341562": <answer>431562</answer> -> 8/9,  <answer>341563</answer> -> 0
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmrl.answer import BadGold, NoAnswer, answered, as_text, squash
from mmrl.reward import Judge, verifier
from mmrl.types import Sample
from mmrl.verify.reading import is_permutation, read_integers

_BACKWARDS = {
    "backwards": True,
    "backward": True,
    "reversed": True,
    "reverse": True,
    "yes": True,
    "true": True,
    "forwards": False,
    "forward": False,
    "normal": False,
    "original": False,
    "no": False,
    "false": False,
}


@verifier(modality="video", paper="VideoSSR, arXiv 2511.06281")
def temporal_jigsaw(*, exact: bool = False, whole_text: bool = True) -> Judge:
    """How near the order of the clips is to the right one; digits, or numbers with commas or
    blanks.

    Args:
        exact: 1 for the right order and 0 for every other (VideoSSR's benchmark and strict
            ablation).
        whole_text: Judge the whole completion where it holds neither a tag nor a box: VideoSSR
            answers directly.
    """
    return _order_judge(exact=exact, whole_text=whole_text)


@verifier(modality="audio")
def audio_order(*, exact: bool = False, whole_text: bool = False) -> Judge:
    """How near the order of the pieces of a sound is to the right one; scored as `temporal_jigsaw`.

    Args:
        exact: 1 for the right order and 0 for every other.
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """
    return _order_judge(exact=exact, whole_text=whole_text)


@verifier(modality="audio")
def audio_reversal(*, whole_text: bool = False) -> Judge:
    """1.0 for saying rightly whether, or which of several, sounds run backwards.

    The row's answer is a word (`backwards` or `forwards`, `yes` or `no`, ...) or the numbers of the
    sounds that run backwards, in any order.

    Args:
        whole_text: Judge the whole completion where it holds neither a tag nor a box.
    """

    def judge(sample: Sample) -> float:
        gold = _direction(sample.row.answer)
        if gold is None:
            raise BadGold(f"{sample.row.answer!r} says neither a direction nor which sounds")
        found = _direction(answered(sample, whole_text=whole_text))
        if found is None:
            raise NoAnswer("the answer says neither a direction nor which sounds")
        return float(found == gold and type(found) is type(gold))

    return judge


def closeness(found: Sequence[int], gold: Sequence[int]) -> float:
    """Return 1 less the displacement of the parts, as a share of the largest there can be.

    >>> closeness([2, 1, 3, 4], [1, 2, 3, 4])
    0.75
    """
    places = {part: place for place, part in enumerate(found)}
    moved = sum(abs(places[part] - place) for place, part in enumerate(gold))
    return 1.0 - moved / (len(gold) ** 2 // 2)


def _order_judge(*, exact: bool, whole_text: bool) -> Judge:
    def judge(sample: Sample) -> float:
        gold = _order(sample.row.answer)
        if gold is None or len(gold) < 2 or not is_permutation(gold):
            raise BadGold(f"{sample.row.answer!r} is no order of two or more parts")
        found = _order(answered(sample, whole_text=whole_text))
        if found is None:
            raise NoAnswer("the answer is no list of numbers")
        if len(found) != len(gold) or not is_permutation(found):
            return 0.0
        return float(found == gold) if exact else closeness(found, gold)

    return judge


def _order(answer: Any) -> list[int] | None:
    """Return the numbers of an order; one run of digits is one digit for each part."""
    text = answer.strip() if isinstance(answer, str) else str(answer) if type(answer) is int else ""
    if len(text) > 1 and text.isascii() and text.isdigit():
        return [int(digit) for digit in text]
    return read_integers(answer)


def _direction(answer: Any) -> bool | frozenset[int] | None:
    if isinstance(answer, bool):
        return answer
    word = squash(as_text(answer)).rstrip(".!")
    if word in _BACKWARDS:
        return _BACKWARDS[word]
    numbers = read_integers(answer)
    return frozenset(numbers) if numbers else None
