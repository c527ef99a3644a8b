"""How many judgements a second each verifier makes, on one core.

Nobody has to register an example: answers of the common kinds are tried until one, written as its
own gold completion, is right.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmrl.errors import RewardError
from mmrl.judging.isolation import Job, Pool
from mmrl.reward import (
    Verifier,
    build_group_reward,
    build_verifier,
    describe_verifiers,
    find_verifier,
    gold_text,
    sample_of,
)
from mmrl.types import Row, Sample, Verdict, VerifierTerm

FRESH = 16
"""Answers that are sent to a worker at a time."""
GROUP = 8
"""Siblings of a group."""
THOUGHT = "<think>" + "First I look at the picture, then I count what I see. " * 8 + "</think>"
_CORNERS = [[8 * i, 8 * i, 8 * i + 40, 8 * i + 30] for i in range(10)]
ANSWERS: tuple[Any, ...] = (
    "42",
    "B",
    [3, 1, 4, 2],
    "90",
    [10, 20, 110, 120],
    [{"bbox_2d": box, "label": f"thing {i}"} for i, box in enumerate(_CORNERS)],
    "5.0-15.0",
    "3,1,4",
    "positive",
    "top-left",
    "forward",
    {"action": "click", "coordinate": [10, 20]},
    "[{'action': 'click', 'coordinate': [10, 20, 30, 40]}]",
    "the cat sat on the mat",
)
NO_EXAMPLE = "no example that it could judge"
EXTRACTING = "with extraction of the answer"
EXTRA = {"coordinates": "pixel", "width": 640, "height": 480, "rows": 2, "columns": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """What was measured of one verifier."""

    name: str
    per_second: float | None
    """Judgements of single completions; None where no example could be judged."""
    note: str = ""


def measure(names: Sequence[str] = (), *, seconds: float = 0.3) -> Iterator[Speed]:
    """Measure verifiers by name, or all of them, one after the other.

    Args:
        names: Which; all where none is named.
        seconds: How long each is called.
    """
    for found in [find_verifier(name) for name in names] if names else describe_verifiers():
        try:
            yield _isolated(found, seconds) if found.isolated else _in_process(found, seconds)
        except RewardError as error:
            yield Speed(name=found.name, per_second=None, note=str(error))


def _in_process(found: Verifier, seconds: float) -> Speed:
    samples = _example(found)
    if not samples:
        return Speed(name=found.name, per_second=None, note=NO_EXAMPLE)
    if found.group:
        together = build_group_reward(found.name)
        rate = _rate(lambda: together(samples), seconds) * len(samples)
        return Speed(name=found.name, per_second=rate, note=f"in groups of {len(samples)}")
    judge = build_verifier(found.name)

    def judge_all() -> None:
        for sample in samples:
            judge(sample_of(sample.row, sample.text) if not found.term else sample)

    rate = _rate(judge_all, seconds) * len(samples)
    return Speed(name=found.name, per_second=rate, note="" if found.term else EXTRACTING)


def _isolated(found: Verifier, seconds: float) -> Speed:
    """Measure one warm worker, with the way there and back, on answers that it never saw before:
    what it remembers of a text would flatter it.
    """
    pool = Pool(processes=1)
    pool.add(found.name)

    def judge(samples: Sequence[Sample]) -> list[Verdict]:
        jobs = [Job(name=found.name, params={}, samples=[sample]) for sample in samples]
        return [verdicts[0] for verdicts in pool.judge(jobs)]

    try:
        samples = _right_and_wrong(found, lambda sample: judge([sample])[0])
        if not samples:
            return Speed(name=found.name, per_second=None, note=NO_EXAMPLE)
        row, numbers = samples[0].row, itertools.count(1000)

        def judge_fresh() -> None:
            texts = [f"{THOUGHT}<answer>{next(numbers)}</answer>" for _ in range(FRESH)]
            judge([sample_of(row, text) for text in texts])

        rate = _rate(judge_fresh, seconds) * FRESH
        return Speed(name=found.name, per_second=rate, note="in one warm worker, fresh answers")
    finally:
        pool.close()


def _example(found: Verifier) -> list[Sample]:
    """Return samples that the verifier judges in turn, or siblings of a group; none where it
    cannot.
    """
    if found.group:
        samples = [_plain(found, accuracy) for accuracy in (1.0, 0.0) * (GROUP // 2)]
        verdicts = build_group_reward(found.name)(samples)
        return samples if all(verdict.score is not None for verdict in verdicts) else []
    judge = build_verifier(found.name)
    if found.term:
        sample = _plain(found, 1.0)
        return [sample] if judge(sample).score is not None else []
    return _right_and_wrong(found, judge)


def _right_and_wrong(found: Verifier, judge: Callable[[Sample], Verdict]) -> list[Sample]:
    """Return a sample that is right and the same row with another right answer's text."""
    candidates = (_sample(found, answer) for answer in ANSWERS)
    good = [sample for sample in candidates if sample is not None and _is_good(judge(sample))]
    if not good:
        return []
    return [good[0], sample_of(good[0].row, good[1].text if len(good) > 1 else good[0].text)]


def _plain(found: Verifier, accuracy: float) -> Sample:
    text = f"{THOUGHT}<answer>42</answer>"
    sample = sample_of(_row(found, "42"), text, length=len(text.split()))
    return replace(sample, accuracy=accuracy)


def _sample(found: Verifier, answer: Any) -> Sample | None:
    row = _row(found, answer)
    try:
        text = gold_text(row, row.verifier[0])
    except Exception:  # an answer of a kind that this verifier does not know
        return None
    return sample_of(row, THOUGHT + text)


def _row(found: Verifier, answer: Any) -> Row:
    term = VerifierTerm(name=found.name)
    return Row(id="r", source="s", prompt=[], answer=answer, verifier=(term,), extra=EXTRA)


def _is_good(verdict: Verdict) -> bool:
    return verdict.status == "ok" and verdict.score is not None and verdict.score > 0.99


def _rate(call: Any, seconds: float) -> float:
    """Return calls per second, of the best of three runs."""
    best = 0.0
    for _ in range(3):
        calls, begin = 0, time.perf_counter()
        while (spent := time.perf_counter() - begin) < seconds / 3:
            for _ in range(4):
                call()
            calls += 4
        best = max(best, calls / spent)
    return best
