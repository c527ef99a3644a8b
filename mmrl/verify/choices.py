"""Read which option of a multiple-choice question a text means, by letter or by the option's words.

The reading is fixed and never guesses: a bare letter, an option's exact text, the last letter that
a phrase such as "the answer is" points at, a leading "C.", an option's text inside the answer, the
last letter that stands alone. Letters that are ruled out ("not A", "B and D are wrong") and the
article "A" do not count; an answer that names several options ("A or B") names none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mmrl.answer import NoAnswer, as_text, in_box, squash

LONGEST = 2000
"""Characters from the end of an answer that are read; a longer answer gives its choice there."""


@dataclass(frozen=True, slots=True)
class Options:
    """The letters of a question's options and, where they are known, their texts."""

    letters: str
    texts: tuple[str, ...]
    """Squashed, without a final full stop; as many as letters, or none."""

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
        return cls(letters[: len(texts)], tuple(squash(text).rstrip(".") for text in texts))

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
    by_text = squash(text).rstrip(".")
    if by_text in options.texts:
        return options.letters[options.texts.index(by_text)]
    lead = _LEAD.match(text)
    letter = (lead[1] or lead[2]).upper() if lead else ""
    return letter if letter and letter in options.letters else ""


def read(answer: str, options: Options) -> str:
    """Return the letter of the option that the answer means.

    Raises:
        NoAnswer: it means none, or several.
    """
    box = in_box(answer[-LONGEST:])
    text = _MARKS.sub("", box if box is not None else answer[-LONGEST:]).strip()
    plain = squash(text).rstrip(".")
    letter = _bare(text, options)
    if letter:
        return letter
    if plain in options.texts:
        return options.letters[options.texts.index(plain)]
    text = _NOT.sub(" ", _WRONG.sub(" ", text))
    mentions = _mentioned(text, options)
    letter = _pointed_at(mentions, text)
    if letter is None:
        letter = (
            _small(text, options)
            or _leading(text, mentions, options)
            or _contained(plain, options)
            or (mentions[-1].letter if mentions else "")
        )
    if not letter:
        raise NoAnswer("the answer names no option, or several")
    return letter


_MARKS = re.compile(r"[*_`$#\"]|\\(?:text|mathrm|mathbf|textbf)(?=\{)")
_BARE = re.compile(r"\W{0,40}([A-Za-z])\W{0,40}")
_LEAD = re.compile(r"\W{0,3}(?:([A-Za-z])\s?[.):]|([A-Z])\s{0,3}(?:,|\n|$))")
_ALONE = re.compile(r"(?<![\w'.-])[A-Z](?![\w'-])")
_ARTICLE = re.compile(
    r"A\s+(?!(?:is|are|was|and|or|because|since|as|seems|looks|but|so|based|due|given|for|with|which|"
    r"that|from|in|on|at|to|must|would|matches|fits|shows)\b)[a-z]"
)
_CUE = re.compile(
    r"\b(?:answer|option|choice|letter|is|be|are|think|believe|choose|pick|select|say|guess|likely|"
    r"probably|so|thus|hence|therefore|go with|conclude)\W{1,4}"
    r"(?:(?:the|correct|right|option|choice|letter|answer)\s+){0,4}[(\[{]?$",
    re.IGNORECASE,
)
_END_CUE = re.compile(
    r"(?:answer|option|choice|letter)\b(?:\s(?:is|option|choice|letter|must|be)){0,4}"
    r"[:=]?\s?[(\[{]?([a-z])\W{0,4}$"
)
_RIGHT = re.compile(
    r"[)\]}]?\s{1,4}(?:is|must be|seems|looks)\s{1,4}(?:the\s{1,4})?(?:correct|right|best|true)\b"
)
_LIST = re.compile(
    r"[)\]}]?\s{0,3}(?:,|/|&|\+|\bor\b|\band\b)\s{0,3}(?:(?:or|and|option)\s){0,2}[(\[{]?"
)
_NOT = re.compile(
    r"\b(?:not|isn't|nor|neither|except|eliminate|exclude|rule out|rather than)\s(?:option\s)?"
    r"[(\[]?[A-Z]\b(?:\s?(?:,|or|nor|and)\s[(\[]?[A-Z]\b){0,7}"
)
_WRONG = re.compile(
    r"\b(?:[A-Z]\)?(?:,\s?|\s(?:and|or)\s|,\s(?:and|or)\s)\(?){0,7}[A-Z]\)?\s"
    r"(?:is|are|was|were|seems?|looks?|can)\s?(?:(?:all|both|clearly|also)\s)?"
    r"(?:wrong|incorrect|not|false|impossible|invalid|ruled)\b"
)


def _bare(text: str, options: Options) -> str:
    match = _BARE.fullmatch(text)
    letter = match[1].upper() if match else ""
    return letter if letter and letter in options.letters else ""


def _pointed_at(mentions: list[_Mention], text: str) -> str | None:
    """Return the last letter that a phrase points at or calls right; None where no phrase does."""
    found = None
    for mention in mentions:
        before = text[max(0, mention.start - 60) : mention.start]
        if _CUE.search(before) or _RIGHT.match(text, mention.end):
            found = mention.letter
    return found


def _small(text: str, options: Options) -> str:
    """Return the small letter that a phrase at the very end points at."""
    match = _END_CUE.search(squash(text[-60:]))
    letter = match[1].upper() if match else ""
    return letter if letter and letter in options.letters else ""


def _leading(text: str, mentions: list[_Mention], options: Options) -> str:
    match = _LEAD.match(text)
    if not match:
        return ""
    if mentions and mentions[0].start <= match.end():
        return mentions[0].letter
    letter = (match[1] or match[2]).upper()
    return letter if letter in options.letters else ""


def _contained(plain: str, options: Options) -> str:
    """Return the only option whose words stand in the answer; a longer one hides those within
    it.
    """
    inside = [text for text in dict.fromkeys(options.texts) if text and _has_words(plain, text)]
    longest = [t for t in inside if not any(t != other and t in other for other in inside)]
    return options.letters[options.texts.index(longest[0])] if len(longest) == 1 else ""


def _has_words(plain: str, text: str) -> bool:
    start = plain.find(text)
    while start >= 0:
        end = start + len(text)
        before = plain[max(0, start - 8) : start]
        free = not before[-1:].isalnum() and not plain[end : end + 1].isalnum()
        if free and not before.endswith(("not ", "not a ", "not an ", "not the ")):
            return True
        start = plain.find(text, start + 1)
    return False


@dataclass(frozen=True, slots=True)
class _Mention:
    start: int
    end: int
    letter: str
    """Empty where a list such as "A or B" names several."""


def _mentioned(text: str, options: Options) -> list[_Mention]:
    """Return the capital letters that stand alone, lists of them as one; articles do not count."""
    mentions: list[_Mention] = []
    for match in _ALONE.finditer(text):
        letter = match.group()
        if letter not in options.letters or _ARTICLE.match(text, match.start()):
            continue
        start, end = match.span()
        if mentions and _LIST.fullmatch(text, mentions[-1].end, start):
            last = mentions.pop()
            start, letter = last.start, letter if last.letter == letter else ""
        mentions.append(_Mention(start, end, letter))
    return mentions
