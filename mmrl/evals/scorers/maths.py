"""Mathematical equality as the training reward `math` judges it: the same text, the same number,
and only then math-verify, in a process that can be killed.
"""

from __future__ import annotations

import functools

from mmrl.answer import squash, tagged
from mmrl.evals.benchmark import Response, Score, judged, unanswered
from mmrl.evals.reading import Found, find_answer
from mmrl.evals.scorers.numbers import CUE, find_number
from mmrl.judging.isolation import Job, Pool
from mmrl.types import Row, Sample, VerifierTerm
from mmrl.verify.choices import LONGEST
from mmrl.verify.numbers import to_decimal

TIMEOUT_S = 30.0
"""For one comparison; far beyond what any answer takes, so that verdicts do not depend on load."""
LONGEST_FORMULA = 300
"""Characters of an answer that can be a formula; more is prose."""


class Unjudged(Exception):
    """The comparison failed or took too long: neither right nor wrong."""


def score_math(response: Response, gold: str) -> Score:
    """Return the strict score of a free answer that is a number or a formula.

    In a response without a tag or a box the answer is what follows the last "answer is", else the
    last number where the gold answer is one.
    """
    found = find_answer(response)
    answer, how = read_formula(found, gold)
    if not answer:
        return unanswered(answer=found.text[-200:] or None)
    try:
        correct = equal(answer, gold)
    except Unjudged as error:
        return unanswered("error", answer=answer, detail=str(error))
    return judged(correct, answer=answer, normalised=squash(answer), how=how)


@functools.lru_cache(maxsize=65536)
def equal(answer: str, gold: str) -> bool:
    """Tell whether the answer equals the gold answer as mathematics.

    Raises:
        Unjudged: nobody can tell.
    """
    if squash(answer) == squash(gold):
        return True
    ours, right = (to_decimal(text.strip(" .$")) for text in (answer, gold))
    if ours is not None and right is not None:
        return abs(ours - right) <= abs(right) / 10**6
    row = Row(id="", source="", prompt=(), answer=gold, verifier=(VerifierTerm(name="math"),))
    sample = Sample(row=row, text=tagged(answer), answer=answer)
    verdict = _pool().judge([Job(name="math", params={}, samples=[sample])])[0][0]
    if verdict.status == "no_answer":
        return False
    if verdict.score is None:
        raise Unjudged(f"{verdict.status}: {verdict.detail}"[:300])
    return verdict.score == 1.0


def read_formula(found: Found, gold: str) -> tuple[str, str]:
    """Return the part of an answer that is a number or a formula, and by which rule it was found;
    empty where there is none.
    """
    if found.how != "whole":
        return found.text[-LONGEST_FORMULA:], found.how
    text = found.text[-LONGEST:]
    if len(text) <= 40 and len(text.split()) <= 4:
        return text.strip(), "whole"
    cues = list(CUE.finditer(text))
    if cues:
        after = text[cues[-1].end() :].strip().split("\n", 1)[0].split(". ", 1)[0]
        return after.strip().rstrip(".")[:LONGEST_FORMULA], "cue"
    number = find_number(found) if to_decimal(gold.strip()) is not None else None
    return (str(number[0]), number[1]) if number else ("", "none")


@functools.cache
def _pool() -> Pool:
    pool = Pool(timeout_s=TIMEOUT_S, processes=1)
    pool.add("math")
    return pool
