"""Ctrl-C is not lost: modules of others that are being imported may catch it and go on, or fail in
ways of their own.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_heard = threading.Event()


@contextmanager
def hear_interrupts() -> Iterator[None]:
    """While inside, an error behind a Ctrl-C is the KeyboardInterrupt that it came of.

    Whoever handles the signal in a way of their own goes on to do so.
    """
    alone = threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _hear)
    try:
        yield
    except Exception as error:
        raise_if_heard(error)
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _heard.clear()


def raise_if_heard(cause: Exception | None = None) -> None:
    """Raise KeyboardInterrupt where there was a Ctrl-C that somebody caught."""
    if _heard.is_set():
        raise KeyboardInterrupt from cause


def _hear(number: int, frame: FrameType | None) -> None:
    _heard.set()
    raise KeyboardInterrupt
