"""Spreads requests, and the tokens that they cost, over time, so that a server's limits are kept.

Requests start one after the other at even distances. What a request costs in tokens is known when
it is answered; until then the mean of the last ones stands for it.
"""

from __future__ import annotations

import threading
import time

_MEMORY = 0.2
"""Weight of the newest reply in the mean."""


class Pace:
    """Lets threads wait for their turn."""

    def __init__(self, per_minute: float | None, tokens_per_minute: float | None) -> None:
        """Start with nothing spent; None stands for no limit."""
        self._request_s = 60.0 / per_minute if per_minute else 0.0
        self._token_s = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._lock = threading.Lock()
        self._next_at = 0.0
        self._paid_at = 0.0
        """When the tokens that were spent so far are within the limit again."""
        self._mean: float | None = None

    def await_turn(self, at_most: int) -> float:
        """Sleep until the next request may start; return the tokens that are set aside for it.

        Args:
            at_most: What to set aside where no reply has been seen yet.
        """
        with self._lock:
            tokens = float(at_most) if self._mean is None else self._mean
            start = max(time.monotonic(), self._next_at, self._paid_at)
            self._next_at = start + self._request_s
            self._paid_at = max(self._paid_at, start) + tokens * self._token_s
        time.sleep(max(0.0, start - time.monotonic()))
        return tokens

    def settle(self, set_aside: float, spent: int | None) -> None:
        """Book what a request did cost; None where it is not known, 0 where it failed."""
        if spent is None:
            return
        with self._lock:
            self._paid_at += (spent - set_aside) * self._token_s
            if spent:
                mean = spent if self._mean is None else self._mean
                self._mean = mean + _MEMORY * (spent - mean)

    def hold(self, seconds: float) -> None:
        """Let nobody start for so long: the server has asked for it."""
        with self._lock:
            self._next_at = max(self._next_at, time.monotonic() + seconds)
