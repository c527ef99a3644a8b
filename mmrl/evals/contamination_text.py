"""Which questions of a benchmark also stand in training data, by their words.

Texts are compared without case, punctuation, width and white space. A question of 13 words or more
is found by any run of 13 of its words (GPT-3, arXiv 2005.14165), a shorter one where it is a whole
line of a prompt. What stands in more than ten items, or in more than ten differing prompts, is a
formula of the task and says nothing about the question.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from mmrl.data.duplicates import COMMON
from mmrl.data.likeness import GRAM_WORDS

Owner = tuple[str, str]
"""Task and id of an item."""

_HAN = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+")
_LABEL = re.compile(r"^\s*(?:question|problem|q)\s*[:.]", re.IGNORECASE)
_PLACE = re.compile(r"<(?:image|video|audio)(?: ?\d+)?>", re.IGNORECASE)


@dataclass(kw_only=True, slots=True)
class _Seen:
    """Where a run of words, or a short question, stands."""

    owners: list[Owner] = field(default_factory=list)
    rows: int = 0
    first: str = ""
    """The first row of training data that has it."""
    prompts: set[Hashable] = field(default_factory=set)
    """Differing prompts that have it, up to one more than are allowed."""


@dataclass(kw_only=True, slots=True)
class TextIndex:
    """The questions of a benchmark's items."""

    _runs: dict[str, _Seen] = field(default_factory=dict)
    _short: dict[str, _Seen] = field(default_factory=dict)

    def add(self, question: str, owner: Owner) -> None:
        """Note the question of an item."""
        words = split_words(question)
        if not words:
            return
        if len(words) < GRAM_WORDS:
            self._short.setdefault(" ".join(words), _Seen()).owners.append(owner)
            return
        for run in dict.fromkeys(_runs(words)):
            self._runs.setdefault(run, _Seen()).owners.append(owner)

    def find(self, texts: Sequence[str], media: Hashable, row_id: str) -> set[str]:
        """Note what of the questions stands in a prompt of training data, and return it.

        Args:
            texts: The prompt's texts.
            media: What the prompt shows; equal texts about other media are other prompts.
            row_id: The row's.
        """
        found: set[str] = set()
        for text in texts:
            words = split_words(text)
            found.update(run for run in _runs(words) if run in self._runs)
            lines = [_PLACE.sub(" ", line) for line in (text, *text.splitlines())]
            lines += [_LABEL.sub("", line) for line in lines if _LABEL.match(line)]
            short = {" ".join(split_words(line)) for line in lines if len(line) < _LONGEST_LINE}
            found.update(line for line in short if line in self._short)
        prompt = (tuple(texts), media)
        for name in found:
            seen = self._seen(name)
            seen.rows += 1
            seen.first = seen.first or row_id
            if len(seen.prompts) <= COMMON:
                seen.prompts.add(hash(prompt))
        return found

    def hits(self) -> dict[Owner, tuple[str, str, str, int]]:
        """Return for each item that was found the kind (`words` or `question`), the words, the
        first row that has them and the number of rows.
        """
        found: dict[Owner, tuple[str, str, str, int]] = {}
        for kind, index in (("words", self._runs), ("question", self._short)):
            for name, seen in index.items():
                if seen.rows and not self.is_formula(name):
                    for owner in seen.owners:
                        found.setdefault(owner, (kind, name, seen.first, seen.rows))
        return found

    def owners(self, name: str) -> list[Owner]:
        """Return the items whose question has these words."""
        return self._seen(name).owners

    def is_formula(self, name: str) -> bool:
        """Tell whether words stand in too many items or prompts to tell one question."""
        seen = self._seen(name)
        return len(seen.owners) > COMMON or len(seen.prompts) > COMMON

    def formulas(self) -> int:
        """Return how many runs of words and short questions were met and left out as formulas."""
        names = (*self._runs, *self._short)
        return sum(self._seen(name).rows > 0 and self.is_formula(name) for name in names)

    def _seen(self, name: str) -> _Seen:
        return self._runs.get(name) or self._short[name]


def split_words(text: str) -> list[str]:
    """Return the words of a text as they are compared; Chinese, Japanese and Korean characters are
    words of their own, and places of media are left out.

    >>> split_words("<image> How FAR is it,\\n in cm?")
    ['how', 'far', 'is', 'it', 'in', 'cm']
    """
    return _WORD.findall(unicodedata.normalize("NFKC", _PLACE.sub(" ", text)).casefold())


_LONGEST_LINE = 400
"""Characters; a line of fewer than 13 words is shorter."""


def _runs(words: Sequence[str]) -> list[str]:
    starts = range(len(words) - GRAM_WORDS + 1)
    return [" ".join(words[start : start + GRAM_WORDS]) for start in starts]
