"""Edits of a chain of thought, as plain functions of texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

from mmrl.answer import BOXED, OPEN, after_thinking, box_span, tag_span

REFLECTIONS = ("But wait", "Wait", "But the question", "Hold on", "Alternatively", "Hmm")
"""Words with which a chain turns round (OpenVLThinker, arXiv 2503.17352, names the first three)."""
CUES = ("alternatively", "double-check", "i should check", "wait")
"""Words that VLAA-Thinking (arXiv 2504.11468) counts as an aha."""
THINK, UNTHINK = "<think>", "</think>"
EMPTY_THOUGHT = "\n\n"
"""What TON (arXiv 2505.16854) puts in the place of a dropped thought."""


def count_words(text: str) -> int:
    """Return how many words the text has, by its white space."""
    return len(text.split())


def thought_of(text: str) -> str:
    """Return what stands in the think tags; without any, what stands before the answer.

    >>> thought_of("<think> a b </think> so <answer>4</answer>"), thought_of("a, so \\\\boxed{4}")
    ('a b', 'a, so')
    """
    before, closed, _ = text.rpartition(UNTHINK)
    if closed:
        return before.partition(THINK)[2].strip() if THINK in before else before.strip()
    return text[: _answer_start(text)].strip()


def rest_of(text: str) -> str:
    """Return what follows the thinking; without think tags, the answer's own text."""
    return after_thinking(text) if UNTHINK in text else text[_answer_start(text) :].strip()


def with_thought(text: str, thought: str) -> str:
    """Return the text with another thought in its think tags.

    >>> with_thought("<think>long</think><answer>3</answer>", "\\n\\n")
    '<think>\\n\\n</think><answer>3</answer>'
    """
    _, _, rest = text.rpartition(UNTHINK)
    return f"{THINK}{thought}{UNTHINK}{rest}"


def cut_reflection(text: str, words: Sequence[str] = REFLECTIONS) -> str:
    """Return the text with its thought cut where it first turns round; the answer stays.

    >>> cut_reflection("A. B. Wait, maybe C. </think> <answer>4</answer>")
    'A. B.\\n</think> <answer>4</answer>'
    """
    end = text.rfind(UNTHINK) if UNTHINK in text else _answer_start(text)
    thought, tail = text[:end], text[end:]
    found = _any_word(words, flags=0).search(thought)
    return f"{thought[: found.start()].rstrip()}\n{tail}" if found else text


def replace_words(text: str, words: Mapping[str, str]) -> str:
    """Return the text with whole words replaced, whatever their case; a capital stays one.

    >>> replace_words("The caption says: two cats.", {"the caption says": "the image shows"})
    'The image shows: two cats.'
    """
    lower = {old.lower(): new for old, new in words.items()}

    def new_of(match: re.Match[str]) -> str:
        new = lower[match.group().lower()]
        return new[:1].upper() + new[1:] if match.group()[:1].isupper() else new

    return _any_word(list(words), flags=re.IGNORECASE).sub(new_of, text)


def holds_any(text: str, words: Sequence[str]) -> str:
    """Return the first of the words or phrases that the text holds, in any case, or nothing."""
    found = _any_word(words, flags=re.IGNORECASE).search(text)
    return found.group() if found else ""


def drops_thought(seed: int, row_id: str, p: float) -> bool:
    """Tell whether this row loses its thought: one draw per row and seed, below p."""
    return Random(f"thought dropout {seed} {row_id}").random() < p


def pick(texts: Sequence[str], rule: str) -> str:
    """Return one of several right chains by the number of their words.

    `second_longest` drops the longest of several and takes the longest of the others, as
    OpenVLThinker's code does; of one it takes that one.
    """
    by_length = sorted(texts, key=count_words)
    places = {"shortest": 0, "longest": -1, "second_longest": max(0, len(texts) - 2)}
    return texts[0] if rule == "first" else by_length[places[rule]]


def read_choice(reply: str, choices: Sequence[str]) -> str | None:
    """Return the only choice that a reply names, or the one it begins with; None for neither.

    A choice of one letter is meant as it is written, because `a` is also an article.

    >>> read_choice("**B** - not as good as A", "ABC"), read_choice("a good one, so B", "ABC")
    ('B', 'B')
    >>> read_choice("A better one would be B", "ABC") is None
    True
    """
    known = {_folded(choice): choice for choice in choices}
    words = [_folded(word) for word in _WORD.findall(reply)]
    named = {known[word] for word in words if word in known}
    if len(named) == 1:
        return named.pop()
    # a first word with more behind it may be the beginning of a sentence
    first = _FIRST.match(reply)
    return known.get(_folded(first.group(1))) if first else None


_WORD = re.compile(r"[\w-]+")
_FIRST = re.compile(r"[^\w]*(\w+)(?=[^\w\s]|\n|$)")


def _folded(word: str) -> str:
    return word if len(word) == 1 else word.casefold()


def _answer_start(text: str) -> int:
    """Return where the answer's tag or box begins, or the end of the text."""
    tag = tag_span(text)
    if tag:
        return tag[0] - len(OPEN)
    box = box_span(text)
    return box[0] - len(BOXED) if box else len(text)


def _any_word(words: Sequence[str], *, flags: int) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    listed = "|".join(map(re.escape, longest_first))
    return re.compile(rf"(?<!\w)(?:{listed})(?!\w)", flags)
