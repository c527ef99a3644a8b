"""Read which option of a multiple-choice question a text means, by letter or by the option's words.

The reading is fixed and never guesses: a bare letter, an option's exact text, the letter that a
phrase such as "the answer is" points at, a leading "C.", an option's text inside the answer, the
only letter that is named and stands out. What counts as naming a letter is told in
`mmrl.verify.mentions`; an answer that names several options and does not choose names none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mmrl.answer import NoAnswer, as_text, in_box, squash
from mmrl.verify.mentions import (
    Mention,
    SeveralOptions,
    find_mentions,
    only_one,
    pointed_at,
    settled,
    without_ruled_out,
)

LONGEST = 2000
"""Characters from the end of an answer that are read; a longer answer gives its choice there."""


@dataclass(frozen=True, slots=True)
class Options:
    """The letters of a question's options and, where they are known, their texts."""

    letters: str
    texts: tuple[str, ...]
    """In lower case, without mark-up and a final full stop; as many as letters, or none."""

    @classmethod
    def of(cls, letters: str, choices: Sequence[str] | None) -> Options:
        """Return the options with these letters and texts; texts may begin with their letters.

        Raises:
            ValueError: there are more texts than letters.
        """
        if not choices:
            return cls(letters, ())
        if len(choices) > len(letters):
            raise ValueError(f"{len(choices)} choices but only the letters {letters!r}")
        texts = [as_text(text) for text in choices]
        pairs = zip(letters, texts, strict=False)
        labels = [re.match(rf"\s*\(?{letter}\s*[.):]\s*", text) for letter, text in pairs]
        if all(labels):
            texts = [
                text[label.end() :] for text, label in zip(texts, labels, strict=True) if label
            ]
        return cls(letters[: len(texts)], tuple(_plain(text) for text in texts))

    def same_text(self, one: str, other: str) -> bool:
        """Tell whether two letters stand for the same words; data sets have such duplicates."""
        if not self.texts:
            return False
        return self.texts[self.letters.index(one)] == self.texts[self.letters.index(other)]


def letter_of(text: str, options: Options) -> str:
    """Return the letter that a row's answer names, by letter or by text; empty where it names
    none.
    """
    alone = _bare(text, options)
    if alone:
        return alone
    by_text = _plain(text)
    if by_text in options.texts:
        return options.letters[options.texts.index(by_text)]
    lead = _LEAD.match(text)
    letter = (lead[1] or lead[2]).upper() if lead else ""
    return letter if letter and letter in options.letters else ""


class Ambiguous(NoAnswer):
    """Raised where the answer names several options and does not choose."""


def read(answer: str, options: Options) -> str:
    """Return the letter of the option that the answer means.

    Raises:
        Ambiguous: it means several.
        NoAnswer: it means none.
    """
    box = in_box(answer[-LONGEST:])
    text = _MARKS.sub("", box if box is not None else answer[-LONGEST:]).strip()
    plain = _plain(text)
    letter = _bare(text, options)
    if letter:
        return letter
    if plain and plain in options.texts:
        return options.letters[options.texts.index(plain)]
    text = without_ruled_out(text)
    mentions = find_mentions(text, options.letters, options.texts)
    try:
        letter = (
            pointed_at(mentions, text)
            or _small(text, options)
            or _leading(text, mentions, options)
            or _in_words(plain, mentions, options)
            or (only_one(mentions, text) if mentions else "")
        )
    except SeveralOptions as error:
        raise Ambiguous("the answer names several options") from error
    if not letter:
        raise NoAnswer("the answer names no option")
    return letter


_MARKS = re.compile(r"[*_`$#\"\u201c\u201d]|\\(?:text|mathrm|mathbf|textbf)(?=\{)|\\[()\[\]]")
_BARE = re.compile(r"\W{0,40}([A-Za-z])\W{0,40}")
_LEAD = re.compile(r"\W{0,3}(?:([A-Za-z])\s?[.):]|([A-Z])\s{0,3}(?:,|[(\u2013\u2014-]|\n|$))")
_END_CUE = re.compile(
    r"(?:answer|option|choice|letter)\b(?:\s(?:is|option|choice|letter|must|be)){0,4}"
    r"[:=]?\s?[(\[{]?([a-z])\W{0,4}$"
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_REFUSED_BEFORE = re.compile(
    r"(?:\b(?:not|no|isn['\u2019]t|aren['\u2019]t|neither|nor|without)\s(?:an?\s|the\s)?)\Z"
)
_REFUSED_AFTER = re.compile(
    r"\W{0,3}\s?(?:is|are|was|were|does|do|can)?\s?(?:not\b|n['\u2019]t\b|cannot\b|(?:wrong|incorrect|"
    r"absent|missing)\b)"
)
_BEFORE_WORDS = re.compile(r"(?:\A|[^\w.,/-]|(?<!\d)[.,/]|[^\s\d]-)\Z")
_AFTER_WORDS = re.compile(r"(?!\w|%|[.,/]\d)")
_BOTH_SHORT = re.compile(r"\b(?:yes|no)\s?(?:and|or|/)\s?(?:yes|no)\b")
_SHORT_WORDS = frozenset({"yes", "no"})
"""Options that are words of other sentences too: they count where they begin or end an answer."""


def _plain(text: str) -> str:
    return squash(_MARKS.sub("", text) or text).rstrip(".")


def _bare(text: str, options: Options) -> str:
    match = _BARE.fullmatch(text)
    letter = match[1].upper() if match else ""
    return letter if letter and letter in options.letters else ""


def _small(text: str, options: Options) -> str:
    """Return the small letter that a phrase at the very end points at."""
    match = _END_CUE.search(squash(text[-60:]))
    letter = match[1].upper() if match else ""
    return letter if letter and letter in options.letters else ""


def _leading(text: str, mentions: list[Mention], options: Options) -> str:
    """Return the letter that the text begins with, unless it is all letters."""
    match = _LEAD.match(text)
    if not match:
        return ""
    if mentions and mentions[0].start <= match.end():
        several = len({mention.letter for mention in mentions}) > 1
        if several and not _WORD.search(text):
            raise SeveralOptions
        return settled(mentions[0], mentions, text)
    small = (match[1] or "").lower()
    found = small.upper() if match[1] == small else ""
    return found if found and found in options.letters else ""


def _in_words(plain: str, mentions: list[Mention], options: Options) -> str:
    """Return the only option whose words stand in the answer; a longer one hides those within
    it.

    Raises:
        SeveralOptions: there are several, or a letter names another one.
    """
    inside = [text for text in dict.fromkeys(options.texts) if text and _has_words(plain, text)]
    longest = [t for t in inside if not any(t != other and t in other for other in inside)]
    letters = {options.letters[options.texts.index(text)] for text in longest}
    if letters and _SHORT_WORDS.issuperset(longest) and _BOTH_SHORT.search(plain):
        raise SeveralOptions
    if len(letters) > 1 or (letters and {mention.letter for mention in mentions} - letters):
        raise SeveralOptions
    return letters.pop() if letters else ""


def _has_words(plain: str, text: str) -> bool:
    start = plain.find(text)
    while start >= 0:
        end = start + len(text)
        refused = _REFUSED_BEFORE.search(plain[max(0, start - 16) : start]) or (
            _REFUSED_AFTER.match(plain, end)
        )
        edge = re.match(r"\s?(?:[,.;:!]|$)", plain[end : end + 2])
        if (
            _BEFORE_WORDS.search(plain[max(0, start - 2) : start])
            and _AFTER_WORDS.match(plain[end : end + 2])
            and not refused
            and (text not in _SHORT_WORDS or edge)
        ):
            return True
        start = plain.find(text, start + 1)
    return False
