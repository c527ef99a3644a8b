"""Do the same with many things at once, in threads, for work that waits for others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def side_by_side(
    do: Callable[[S], T],
    things: Sequence[S],
    concurrency: int,
    advance: Callable[[int], None],
) -> list[T]:
    """Return what `do` makes of each, in order; the first exception ends it.

    Args:
        do: Safe to call from many threads.
        things: Any number.
        concurrency: Most threads.
        advance: Called from this thread with how many are done.
    """
    pool = ThreadPoolExecutor(concurrency)
    try:
        futures = [pool.submit(do, thing) for thing in things]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            advance(done)
    finally:
        # after an exception nobody waits here for what the others are doing
        pool.shutdown(wait=False, cancel_futures=True)
    return [future.result() for future in futures]
