"""Words as answers: yes or no, and texts that are compared without case, blanks and articles."""

from __future__ import annotations

import re

from mmrl.answer import squash
from mmrl.evals.benchmark import Response, Score, judged, unanswered
from mmrl.evals.reading import find_answer
from mmrl.verify.choices import LONGEST

_YES_NO = re.compile(r"\b(yes|no)\b")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_SHORT = 200
"""Characters of a response that may be an answer in itself; a longer one needs a tag or a box."""


def score_yes_no(response: Response, gold: str) -> Score:
    """Return the strict score of a yes-or-no question: the only one of the two words that stands
    in the answer; both are ambiguous.

    Raises:
        ValueError: the gold answer is neither.
    """
    right = squash(gold).rstrip(".")
    if right not in ("yes", "no"):
        raise ValueError(f"the gold answer {gold!r} is neither yes nor no")
    found = find_answer(response)
    words = set(_YES_NO.findall(found.text[-LONGEST:].casefold()))
    if len(words) != 1:
        return unanswered("ambiguous" if words else "no_answer", answer=found.text[-200:] or None)
    word = words.pop()
    how = "text" if found.how == "whole" else found.how
    return judged(word == right, answer=found.text[-200:], normalised=word, how=how)


def score_text(response: Response, gold: str) -> Score:
    """Return the strict score of a short text: equal but for case, blanks, articles and a final
    full stop.
    """
    found = find_answer(response)
    if not found.text or (found.how == "whole" and len(found.text) > _SHORT):
        return unanswered(answer=found.text[-200:] or None)
    ours, right = bare(found.text[-LONGEST:]), bare(gold)
    return judged(ours == right, answer=found.text[-200:], normalised=ours[-200:], how=found.how)


def bare(text: str) -> str:
    """Return the text in lower case, without articles, outer punctuation and runs of blanks.

    >>> bare(" The  Red Car. ")
    'red car'
    """
    return squash(_ARTICLES.sub(" ", text.casefold()).strip(" .\"'\n"))
