"""A Ctrl-C that somebody caught on the way ends the run all the same."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

import pytest

from mmrl.interrupts import hear_interrupts, raise_if_heard


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, [])  # it is heard by now


def test_what_was_caught_is_raised_at_the_next_step():
    with hear_interrupts():
        with contextlib.suppress(KeyboardInterrupt):
            press()
        with pytest.raises(KeyboardInterrupt):
            raise_if_heard()
    raise_if_heard()


def test_an_error_that_came_of_it_is_no_error_of_the_program():
    def load() -> None:
        try:
            press()
        except KeyboardInterrupt:
            raise ModuleNotFoundError("half imported") from None

    with pytest.raises(KeyboardInterrupt) as caught, hear_interrupts():
        load()
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_other_errors_are_what_they_are():
    with pytest.raises(ModuleNotFoundError), hear_interrupts():
        raise ModuleNotFoundError("missing")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_somebody_else_stays():
    def own(number, frame):
        pass

    before = signal.signal(signal.SIGINT, own)
    try:
        with hear_interrupts():
            assert signal.getsignal(signal.SIGINT) is own
            press()
            raise_if_heard()
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_changed():
    seen = []

    def work() -> None:
        with hear_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
