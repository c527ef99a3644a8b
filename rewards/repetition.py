"""A penalty for repeating oneself, by one of three published rules.

ngram   VL-Cogito (arXiv 2507.22607): minus half the share of 20-grams of words that occurred before
window  RLPR (arXiv 2506.18254): -1 when some 10 words in a row occur 10 times; `_` ends a word, too
lines   Visual Jigsaw (arXiv 2509.25190): -0.5 when a line of 7 or more words stands more than 3
        times in a row
"""

from __future__ import annotations

from typing import Literal

from mmrl.reward import Judge, verifier
from mmrl.types import Sample
from mmrl.verify.repeats import longest_run_of_lines, most_frequent, repeated_share

Rule = Literal["ngram", "window", "lines"]
DEFAULTS: dict[str, tuple[int, int, float]] = {
    "ngram": (20, 0, 0.5),
    "window": (10, 10, 1.0),
    "lines": (7, 4, 0.5),
}
"""Words, times and penalty of each rule."""


@verifier(term=True, paper="VL-Cogito, arXiv 2507.22607")
def repetition(
    *,
    rule: Rule = "ngram",
    words: int | None = None,
    times: int | None = None,
    penalty: float | None = None,
) -> Judge:
    """0 for a text that does not repeat itself, down to -penalty.

    Args:
        rule: What counts as repetition; `words`, `times` and `penalty` have its published values.
        words: Words of an n-gram, of a window, or of a line that counts.
        times: Occurrences from which a window or a line is punished.
        penalty: The largest penalty.
    """
    size, limit, most = DEFAULTS[rule]
    size = size if words is None else words
    limit = limit if times is None else times
    most = most if penalty is None else penalty
    if size < 1:
        raise ValueError(f"words must be at least 1, got {size}")

    def judge(sample: Sample) -> float:
        if rule == "ngram":
            return 0.0 - most * repeated_share(sample.text, n=size)
        if rule == "lines":
            return -most if longest_run_of_lines(sample.text, words=size) >= limit else 0.0
        found = most_frequent(sample.text.replace("_", " ").split(), n=size)
        return -most if found >= limit else 0.0

    return judge
