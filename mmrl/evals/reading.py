"""Where a response keeps its answer, and which option it means: what strict scorers share.

The order is fixed: what follows the thinking; in it the last `<answer>` tag, else the last
`\\boxed{}`, else the text itself. What names no option is no answer, what names several is
ambiguous, and neither is ever guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from mmrl.answer import NoAnswer, after_thinking, in_box, in_tag
from mmrl.evals.benchmark import Item, Response, Score, Status, judged, unanswered
from mmrl.verify.choices import LONGEST, Ambiguous, Options, letter_of, read

THINK, END_THINK = "<think>", "</think>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The part of a response that holds its answer."""

    text: str
    how: str
    """extraction, tag, boxed or whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which option a text means; no letter where it means none, or several."""

    letter: str
    how: str
    status: Status


def find_answer(response: Response) -> Found:
    """Return the answer's own text: the extraction that came with the response, else a tag's
    content, else a box's, else all that follows the thinking.

    >>> find_answer(Response(text="<think>A?</think> so <answer>B</answer>"))
    Found(text='B', how='tag')
    """
    if response.extraction is not None:
        return Found(text=response.extraction.strip(), how="extraction")
    text = after_thinking(response.text) if END_THINK in response.text else response.text.strip()
    tagged = in_tag(text)
    if tagged is not None:
        return Found(text=tagged, how="tag")
    boxed = in_box(text)
    if boxed is not None:
        return Found(text=boxed, how="boxed")
    return Found(text=text, how="whole")


def is_cut(response: Response) -> bool:
    """Tell whether generation stopped before an answer could be given: at the token limit, within
    a thought, or, where nobody says how it ended, right after one.
    """
    if response.stop == "length":
        return True
    text = response.text
    if text.rfind(THINK) > text.rfind(END_THINK):
        return True
    return response.stop is None and text.rstrip().endswith(END_THINK)


def read_choice(found: Found, choices: Sequence[str], letters: str = ascii_uppercase) -> Choice:
    """Say which option the text means, as `mmrl.verify.choices.read` does.

    `how` is the place where the text stood; where that is the whole response it is letter (nothing
    but the letter), text (an option's words) or cue (the letter within a sentence).
    """
    options = Options.of(letters, [str(choice) for choice in choices] or None)
    if not found.text:
        return Choice(letter="", how="none", status="no_answer")
    try:
        letter = read(found.text, options)
    except Ambiguous:
        return Choice(letter="", how="none", status="ambiguous")
    except NoAnswer:
        return Choice(letter="", how="none", status="no_answer")
    how = found.how if found.how != "whole" else _rule(found.text, letter, options)
    return Choice(letter=letter, how=how, status="ok")


def score_choice(item: Item, response: Response, *, gold: str, letters: str = "") -> Score:
    """Return the strict score of a multiple-choice item whose gold answer is a letter, or an
    option's words; options with the same words are the same answer.

    Raises:
        ValueError: the gold answer names no option.
    """
    letters = letters or ascii_uppercase[: len(item.choices)] or ascii_uppercase[:5]
    options = Options.of(letters, list(item.choices) or None)
    right = letter_of(gold, options)
    if not right:
        raise ValueError(f"the gold answer {gold!r} names no option")
    found = find_answer(response)
    choice = read_choice(found, item.choices, letters)
    if choice.status != "ok":
        return unanswered(choice.status, answer=found.text[:LONGEST] or None, how=choice.how)
    correct = choice.letter == right or options.same_text(choice.letter, right)
    return judged(correct, answer=found.text[-200:], normalised=choice.letter, how=choice.how)


def _rule(text: str, letter: str, options: Options) -> str:
    if re.fullmatch(r"\W*[A-Za-z]\W*", text):
        return "letter"
    alone = re.search(rf"(?<![A-Za-z]){letter}(?![A-Za-z])", text)
    return "cue" if alone or not options.texts else "text"
