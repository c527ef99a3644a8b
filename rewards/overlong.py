"""DAPO's soft punishment of overlong completions (arXiv 2503.14476).

Nothing up to `max_length - cache_length`, then linearly down to -1 at `max_length`, and -1 beyond
it.
"""

from __future__ import annotations

from mmrl.reward import Judge, verifier
from mmrl.types import Sample


@verifier(term=True, paper="DAPO, arXiv 2503.14476")
def overlong(*, max_length: float = 20480, cache_length: float = 4096) -> Judge:
    """0 to -1 by the completion's length in tokens.

    Args:
        max_length: From here on the punishment is full.
        cache_length: Over so many tokens before that it grows.
    """
    if not 0 < cache_length <= max_length:
        raise ValueError(
            f"cache_length ({cache_length:g}) is positive and not above max_length ({max_length:g})"
        )
    free = max_length - cache_length

    def judge(sample: Sample) -> float:
        return -min(1.0, max(0.0, (sample.length - free) / cache_length))

    return judge
