"""How much a text repeats itself, in words. Linear in the length of the text."""

from __future__ import annotations

from collections import Counter, defaultdict


def repeated_share(text: str, *, n: int) -> float:
    """Return the share of the text's n-grams of lower-cased words that occurred before.

    0 for a text of fewer than n words.

    >>> repeated_share("a b a b", n=2)
    0.33333333333333337
    """
    words = text.lower().split()
    total = len(words) - n + 1
    if total < 1:
        return 0.0
    grams = [tuple(words[start : start + n]) for start in range(total)]
    return 1.0 - len(set(grams)) / total


def most_frequent(words: list[str], *, n: int) -> int:
    """Return how often the most frequent n-gram occurs; 0 for fewer than n words."""
    grams = Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))
    return max(grams.values(), default=0)


def longest_run_of_lines(text: str, *, words: int) -> int:
    """Return the most times in a row that a line of at least so many words stands in the text."""
    longest, run, last = 0, 0, None
    for line in text.splitlines():
        line = line.strip()
        if not line:
            continue
        run = run + 1 if line == last else 1
        last = line
        if len(line.split()) >= words:
            longest = max(longest, run)
    return longest


def has_close_repeats(words: list[str], *, n: int, times: int) -> bool:
    """Tell whether some n-gram occurs so many times with less than a third of the text between."""
    near = len(words) / 3
    runs: dict[tuple[str, ...], tuple[int, int]] = defaultdict(lambda: (-len(words), 0))
    for start in range(len(words) - n + 1):
        gram = tuple(words[start : start + n])
        last, count = runs[gram]
        count = count + 1 if start - last < near else 1
        if count >= times:
            return True
        runs[gram] = (start, count)
    return False
