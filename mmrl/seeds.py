"""Randomness as a function of where training stands: no generator has state that a resumed run
would have to restore.
"""

from __future__ import annotations

import hashlib


def derive(seed: int, *place: str | int) -> int:
    """A 63-bit seed that depends on the run's seed and on a place, such as (stage, step, "sample"),
    and on nothing else.

    >>> derive(0, "grpo", 3) == derive(0, "grpo", 3) != derive(1, "grpo", 3)
    True
    """
    text = repr((seed, *place)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1
