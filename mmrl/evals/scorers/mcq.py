"""Multiple choice as public benchmarks score it: options that are written as text, the rules by
which their own code finds a letter, and sets of letters.

Where official code picks a random option, the score is what that pick is worth on average: the
same number in the long run, and the same in every run.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence
from string import ascii_uppercase
from typing import Any

from mmrl.answer import squash
from mmrl.evals.benchmark import Item, Response, Score, judged, unanswered
from mmrl.evals.reading import Found, find_answer, read_choice
from mmrl.verify.choices import LONGEST

VIDEO_PREFIXES = ("The best answer is", "The correct answer is", "The answer is", "The answer")
"""What scorers of video benchmarks cut out before they look for the first letter."""

_LISTED = re.compile(r"\s*\[.*\]\s*", re.DOTALL)
_STRIPPED = (",", ".", "!", "?", ";", ":", "'")
_BETWEEN = re.compile(r"[\s,;.:&/+()\[\]'\"]|\band\b", re.IGNORECASE)
_ALONE = re.compile(
    r"(?<![\w'.-])(?:[AI](?!\s(?!(?:or|and|is|are|as|because|since|but|so)\b)[a-z])|[B-HJ-Z0-9])"
    r"(?![\w'-])"
)
_NAMED = re.compile(r"(?<!\w)[A-Z0-9](?!\w)")
_EITHER = re.compile(r"\bor\b", re.IGNORECASE)
_CUE = re.compile(r"\b[Aa]nswers?\b[^A-Z0-9\n]{0,30}(?=[A-Z0-9])")
_LIST = re.compile(
    r"[A-Z0-9](?![\w'-])(?:[)\]}*.]{0,4}\s{0,3}(?:,|/|&|;|and\b|or\b){1,2}\s{0,3}[(\[{*]{0,4}"
    r"(?:or |and )?[A-Z0-9](?![\w'-])){0,12}"
)


def read_options(value: Any) -> tuple[str, ...]:
    """Return the options of a record: a list, or the text of a list as JSON or Python writes it.

    Raises:
        ValueError: it is neither.

    >>> read_options("['3', 'a \\"b\\"']"), read_options(["x", 2]), read_options(None)
    (('3', 'a "b"'), ('x', '2'), ())
    """
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        value = _list_in(value)
    if not isinstance(value, Iterable):
        raise ValueError(f"{str(value)[:40]!r} is no list of options")
    return tuple(str(option) for option in value)


def lettered(options: Sequence[str], form: str = "{letter}. {text}") -> list[str]:
    """Return one line per option, each after its letter.

    >>> lettered(["dog", "cat"], "({letter}) {text}")
    ['(A) dog', '(B) cat']
    """
    pairs = zip(ascii_uppercase, options, strict=False)
    return [form.format(letter=letter, text=text) for letter, text in pairs]


def guess(item: Item, answer: str | None = None) -> Score:
    """Return the score of a random pick among the item's options, on average."""
    return Score(
        value=1 / len(item.choices) if item.choices else 0.0,
        correct=False,
        answer=answer,
        normalised=None,
        how="fallback",
        status="no_answer",
    )


def score_letter(letter: str, gold: str, how: str = "letter") -> Score:
    """Return the score of a letter that official rules found."""
    return judged(letter == gold, answer=letter, normalised=letter, how=how)


def first_letter(text: str, letters: str, prefixes: Sequence[str] = ()) -> str:
    """Return the first of the capital letters anywhere in the text, once the prefixes are cut out;
    empty where there is none. "According to" means A.
    """
    for prefix in prefixes:
        text = text.replace(prefix, "")
    return next((letter for letter in text if letter in letters), "")


def mmmu_letter(text: str, options: Sequence[str], *, pro: bool = False) -> tuple[str, str]:
    """Return the letter that MMMU's parser finds, and by which rule; empty where it picks at
    random.

    "(A)" anywhere, else " A ", else an option's text in a response of more than five words; of
    several the last one. MMMU-Pro's parser takes what follows the last "Answer:" first, "A " where
    MMMU's wants " A ", and "A." after it; of letters found so, one that has no blanks around it
    loses to any that has, and to the first of all.

    Args:
        text: The response.
        options: The options' texts.
        pro: MMMU-Pro's parser.
    """
    letters = ascii_uppercase[: len(options)]
    _, marked, tail = text.rpartition("Answer:")
    if pro and marked:
        named = [letter for letter in letters if letter in tail]
        if len(named) == 1:
            return named[0], "cue"
    for character in _STRIPPED:
        text = text.strip(character)
    text = f" {text} "
    found = [letter for letter in letters if f"({letter})" in text]
    if found:
        return max(found, key=lambda letter: text.rfind(f"({letter})")), "letter"
    for form in ("{} ", "{}.") if pro else (" {} ",):
        found = [letter for letter in letters if form.format(letter) in text]
        if found:
            return max(found, key=lambda letter: text.rfind(f" {letter} ")), "letter"
    if len(text.split()) > 5:
        return _last_text(text.lower(), letters, options)
    return "", "fallback"


def letter_set(text: str, letters: str = ascii_uppercase) -> frozenset[str]:
    """Return the letters of a bare list such as "a, C" or "AC"; empty where it is no such list.

    >>> sorted(letter_set("(B) and D")), letter_set("Because")
    (['B', 'D'], frozenset())
    """
    bare = _BETWEEN.sub("", text).upper()
    known = bare and frozenset(bare) <= frozenset(letters) and len(bare) == len(set(bare))
    return frozenset(bare) if known else frozenset()


def score_letter_set(response: Response, gold: str, *, letters: str = ascii_uppercase) -> Score:
    """Return the strict score of a question with one or several right letters.

    A bare list of letters is taken as it is. In prose the letters after the last "answer is" count,
    else all that stand alone; "A or C" is ambiguous.

    Raises:
        ValueError: the gold answer names no letter.
    """
    right = letter_set(gold, letters)
    if not right:
        raise ValueError(f"the gold answer {gold!r} names no letter")
    found = find_answer(response)
    part, named, how = _letters_in(found, letters)
    if not named:
        return unanswered(answer=found.text[-LONGEST:] or None)
    if len(named) > 1 and _EITHER.search(part):
        return unanswered("ambiguous", answer=found.text[-LONGEST:])
    written = ", ".join(sorted(named))
    return judged(named == right, answer=found.text[-200:], normalised=written, how=how)


def same_option(one: str, other: str) -> bool:
    """Tell whether two texts are the same option, whatever case, blanks and a final full stop."""
    return squash(one).rstrip(".") == squash(other).rstrip(".")


def _letters_in(found: Found, letters: str) -> tuple[str, frozenset[str], str]:
    """Return the text that names the letters, the letters, and by which rule."""
    bare = letter_set(found.text, letters)
    if bare:
        return found.text, bare, "letter" if found.how == "whole" else found.how
    text = found.text[-LONGEST:]
    cues = list(_CUE.finditer(text))
    listed = _LIST.match(text, cues[-1].end()) if cues else None
    if listed:
        named = frozenset(_NAMED.findall(listed.group())) & frozenset(letters)
        return listed.group(), named, "cue" if found.how == "whole" else found.how
    choice = read_choice(found, (), letters)
    if choice.status == "ok":
        return choice.letter, frozenset(choice.letter), choice.how
    named = frozenset(_ALONE.findall(text)) & frozenset(letters)
    return text, named, "letter" if found.how == "whole" else found.how


def _last_text(text: str, letters: str, options: Sequence[str]) -> tuple[str, str]:
    """Return the letter of the option whose words come last, the first of those that tie."""
    places = {
        letter: text.rfind(option.lower()) for letter, option in zip(letters, options, strict=True)
    }
    found = [letter for letter in letters if places[letter] >= 0]
    return (max(found, key=lambda letter: places[letter]), "text") if found else ("", "fallback")


def _list_in(text: str) -> list[Any]:
    if not _LISTED.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no list of options")
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list):
            return value
    raise ValueError(f"{text[:40]!r} is no list of options")
