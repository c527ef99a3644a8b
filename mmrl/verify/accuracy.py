"""What terms that depend on correctness ask of a sample: was it right by its row's own
verifiers?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mmrl.types import Sample, Verdict

_UNKNOWN = "the accuracy is not known: rewards.terms needs 'accuracy', if only with weight 0"


class UnknownAccuracy(Exception):
    """A term depends on an accuracy that is not known: nobody judged the sample, or nobody
    could.
    """


def accuracy_of(sample: Sample) -> float:
    """Return the score by the row's own verifiers.

    Raises:
        UnknownAccuracy: there is none; the term's verdict is then an error and not a 0.
    """
    if sample.accuracy is None:
        raise UnknownAccuracy(_UNKNOWN)
    return sample.accuracy


def is_right(sample: Sample, at: float = 1.0) -> bool:
    """Tell whether the sample reached the accuracy `at`."""
    return accuracy_of(sample) >= at


def judge_known(
    samples: Sequence[Sample], judge: Callable[[Sequence[Sample]], Sequence[float]]
) -> list[Verdict | float]:
    """Judge the siblings whose accuracy is known among themselves; the others are errors."""
    known = [sample for sample in samples if sample.accuracy is not None]
    scores = iter(judge(known) if known else ())
    unknown = Verdict(score=None, status="error", detail=_UNKNOWN)
    return [unknown if sample.accuracy is None else next(scores) for sample in samples]
