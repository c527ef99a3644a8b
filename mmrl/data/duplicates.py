"""Rows that say the same as an earlier one, and rows that a test would be spoiled by.

Three rules find duplicates; each asks for the same answer:

    content     the same words, the same answer, the same bytes of media
    perceptual  the same words and answer, pictures that look the same
    ngrams      pictures that look the same (or no media), and most runs of 13 words the same

A row overlaps with a test set where it shows one of its media, or shares a run of 13 words with it
that is no formula: one that stands in more than COMMON rows of either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from mmrl.data.likeness import Likeness, Looks

Rule = Literal["content", "perceptual", "ngrams"]
RULES = get_args(Rule)
Kind = Literal["medium", "words", "row"]
COMMON = 10


@dataclass(kw_only=True, slots=True)
class Duplicates:
    """Rows seen so far; says of each new one which earlier row it repeats."""

    rules: Sequence[Rule] = ("content",)
    share: float = 0.8
    """Of a row's runs of words, how many another must have for the rule `ngrams`."""
    looks: Looks = field(default_factory=Looks)
    _same: dict[tuple[str, ...], int] = field(default_factory=dict)
    _alike: dict[tuple[str, ...], int] = field(default_factory=dict)
    _runs: dict[tuple[str, ...], list[tuple[int, np.ndarray]]] = field(default_factory=dict)

    def find(self, number: int, like: Likeness) -> tuple[Rule, int] | None:
        """Return the rule by which a row repeats an earlier one, and that row's number."""
        shown = self.shown(like)
        if "content" in self.rules:
            first = self._same.setdefault((like.text, like.answer, *like.media), number)
            if first != number:
                return "content", first
        if "perceptual" in self.rules:
            first = self._alike.setdefault((like.text, like.answer, *shown), number)
            if first != number:
                return "perceptual", first
        if "ngrams" in self.rules and len(like.grams):
            others = self._runs.setdefault((like.answer, *shown), [])
            for other, grams in others:
                both = np.intersect1d(grams, like.grams, assume_unique=True).size
                if both >= self.share * len(like.grams):
                    return "ngrams", other
            others.append((number, like.grams))
        return None

    def shown(self, like: Likeness) -> tuple[str, ...]:
        """Return the row's media, each as the first that looked like it, where looks are known."""
        pairs = zip(like.media, like.looks, strict=True)
        return tuple(self.looks.first(digest, look) for digest, look in pairs)


def find_overlap(
    rows: Mapping[int, Likeness],
    shown: Mapping[int, tuple[str, ...]],
    tests: Mapping[int, Likeness],
    tests_shown: Mapping[int, tuple[str, ...]],
) -> dict[int, tuple[Kind, int]]:
    """Return the rows that overlap with a test set: how, and with which of its rows.

    Args:
        rows: Rows by number.
        shown: Their media, each as the first that looked like it.
        tests: Rows of the test set by number.
        tests_shown: Their media.
    """
    by_medium: dict[str, int] = {}
    by_row: dict[tuple[str, ...], int] = {}
    for test, like in tests.items():
        by_row.setdefault((like.text, like.answer, *tests_shown[test]), test)
        for medium in tests_shown[test]:
            by_medium.setdefault(medium, test)
    runs, owners = _runs(tests)
    formulas = _formulas(tests) | _formulas(rows)
    found: dict[int, tuple[Kind, int]] = {}
    for number, like in rows.items():
        same = by_row.get((like.text, like.answer, *shown[number]))
        media = [by_medium[medium] for medium in shown[number] if medium in by_medium]
        if same is not None:
            found[number] = "row", same
        elif media:
            found[number] = "medium", media[0]
        elif len(like.grams) and len(runs):
            places = np.searchsorted(runs, like.grams).clip(max=len(runs) - 1)
            hits = [
                owners[place]
                for place, gram in zip(places.tolist(), like.grams.tolist(), strict=True)
                if runs[place] == gram and gram not in formulas
            ]
            if hits:
                found[number] = "words", int(hits[0])
    return found


def _runs(tests: Mapping[int, Likeness]) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted runs of words of a test set, and for each a row that has it."""
    if not tests:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    runs = np.concatenate([like.grams for like in tests.values()])
    owners = np.concatenate([np.full(len(like.grams), test) for test, like in tests.items()])
    runs, first = np.unique(runs, return_index=True)
    return runs, owners[first]


def _formulas(rows: Mapping[int, Likeness]) -> set[int]:
    """Return the runs of words that stand in more than COMMON rows."""
    if not rows:
        return set()
    runs, counts = np.unique(
        np.concatenate([like.grams for like in rows.values()]), return_counts=True
    )
    return set(runs[counts > COMMON].tolist())
