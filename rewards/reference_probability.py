"""How probable the reference answer is after the model's own reasoning: no verifier needed.

RLPR (arXiv 2506.18254): the mean probability of the reference's tokens in place of the generated
answer, less their mean without reasoning, at least 0; 0.9 of that and 0.1 for the format. Whoever
runs the policy puts the numbers into the row's extra as `reference_probabilities` and
`reference_baseline` (mmrl.verify.reference); a sample without them is an error.

    probabilities .9 .8 .1, baseline .25 -> 0.9 * 0.35 + 0.1 = 0.415, in a wrong format 0.315
"""

from __future__ import annotations

from typing import Literal

from mmrl.answer import NoAnswer
from mmrl.reward import Judge, verifier
from mmrl.types import Row, Sample, Verdict
from mmrl.verify.reading import finite
from mmrl.verify.reference import (
    BASELINE,
    PROBABILITIES,
    debiased,
    mean_probability,
    repeats_itself,
    splice,
)


@verifier(term=True, paper="RLPR, arXiv 2506.18254", facts=(PROBABILITIES, BASELINE))
def reference_probability(
    *,
    format_weight: float = 0.1,
    format: Literal["think_answer", "answer"] = "think_answer",  # noqa: A002
    format_required: bool = False,
    debias: bool = True,
    repetition_penalty: float = 0.0,
) -> Judge:
    """Mean probability of the reference's tokens after the reasoning, less that without reasoning.

    Args:
        format_weight: The format's share of the score.
        format: Thinking and answer in tags, each tag once, or the answer's tags alone.
        format_required: No share for the format, but -1 without it.
        debias: Take off the mean probability without reasoning; a row without that number counts as
            0.
        repetition_penalty: Taken off a score that is not 0 where ten words in a row occur ten
            times; RLPR's is 1.
    """
    if not 0 <= format_weight <= 1:
        raise ValueError(f"format_weight is a share, 0 to 1, got {format_weight}")
    if repetition_penalty < 0:
        raise ValueError(f"repetition_penalty is not negative, got {repetition_penalty}")

    def judge(sample: Sample) -> Verdict:
        if splice(sample.text, "") is None:
            raise NoAnswer("no answer that the reference could replace")
        probability = mean_probability(_probabilities(sample.row))
        worth = debiased(probability, _baseline(sample.row)) if debias else probability
        good = _has_format(sample.text, format)
        if format_required:
            score = worth if good else -1.0
        else:
            score = (1 - format_weight) * worth + format_weight * good
        if score and repetition_penalty and repeats_itself(sample.text):
            score -= repetition_penalty
        parts = {"probability": probability, "debiased": worth, "format": float(good)}
        return Verdict(score=score, parts=parts)

    return judge


def _probabilities(row: Row) -> list[float]:
    given = row.extra.get(PROBABILITIES)
    numbers = [finite(value) for value in given] if isinstance(given, list | tuple) else [None]
    if None in numbers:
        raise ValueError(f"extra[{PROBABILITIES!r}] holds no list of probabilities")
    return [number for number in numbers if number is not None]


def _baseline(row: Row) -> float:
    number = finite(row.extra.get(BASELINE, 0.0))
    if number is None or not 0 <= number <= 1:
        raise ValueError(f"extra[{BASELINE!r}] is no probability")
    return number


def _has_format(text: str, wanted: str) -> bool:
    tags = ["<think>", "</think>", "<answer>", "</answer>"][0 if wanted == "think_answer" else 2 :]
    places = [text.find(tag) for tag in tags]
    return all(text.count(tag) == 1 for tag in tags) and places == sorted(places)
