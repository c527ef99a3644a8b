"""What group terms need to know of the siblings of a group: who is right, and what each
answered."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from mmrl.answer import squash
from mmrl.numbers import to_decimal
from mmrl.reward import build_verifier, find_verifier
from mmrl.types import Sample


def accuracies(samples: Sequence[Sample], verifier: str | None) -> list[float | None]:
    """Return each sibling's accuracy as the rubric found it, or else as the verifier of that name
    does.

    None stands for one that could not be judged.

    Raises:
        ValueError: the rubric judged none, and no verifier was named or it needs the killable pool.
    """
    if any(sample.accuracy is not None for sample in samples):
        return [sample.accuracy for sample in samples]
    if verifier is None:
        raise ValueError("nobody judged the siblings: the term accuracy, or the parameter verifier")
    if find_verifier(verifier).isolated:
        raise ValueError(f"{verifier} needs the killable pool: let the term accuracy judge")
    judge = build_verifier(verifier)
    return [judge(sample).score for sample in samples]


def answer_key(answer: str) -> Decimal | str:
    """Return what two answers that mean the same have in common: a number's value, else the
    squashed text.

    >>> answer_key(" 5.0 ") == answer_key("$5$"), answer_key("A dog") == answer_key("a  Dog")
    (True, True)
    """
    text = squash(answer).strip("$").strip()
    number = to_decimal(text) if text else None
    return text if number is None else number
