"""Threads do what they are given, in order, and never keep a process from ending."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from mmrl.threads import Threads

PATIENCE_S = 30.0


def test_one_thread_does_one_thing_after_the_other():
    threads, done = Threads(1, name="one"), []
    futures = [threads.submit(done.append, place) for place in range(20)]
    assert [future.result(PATIENCE_S) for future in futures] == [None] * 20
    assert done == [*range(20)]
    threads.end()
    assert not [thread for thread in threading.enumerate() if thread.name == "one"]


def test_several_threads_work_side_by_side():
    threads, meeting = Threads(3, name="three"), threading.Barrier(3, timeout=PATIENCE_S)
    futures = [threads.submit(meeting.wait) for _ in range(3)]
    assert sorted(future.result() for future in futures) == [0, 1, 2]
    threads.end()


def test_an_error_is_raised_where_the_result_is_asked_for_and_the_thread_goes_on():
    threads = Threads(1, name="bad")
    bad, good = threads.submit(int, "x"), threads.submit(int, "7", base=8)
    with pytest.raises(ValueError, match="invalid literal"):
        bad.result(PATIENCE_S)
    assert good.result(PATIENCE_S) == 7
    threads.end()


def test_at_the_end_what_has_not_begun_is_cancelled_and_what_hangs_is_left():
    threads, let_go, begun = Threads(1, name="late"), threading.Event(), threading.Event()

    def hang() -> str:
        begun.set()
        let_go.wait()
        return "late"

    hanging, waiting = threads.submit(hang), threads.submit(int)
    assert begun.wait(PATIENCE_S)
    began = time.monotonic()
    threads.end(patience_s=0.1)
    assert 0.1 <= time.monotonic() - began < PATIENCE_S
    assert waiting.cancelled()
    let_go.set()
    assert hanging.result(PATIENCE_S) == "late"


def test_nothing_is_started_for_nothing():
    threads = Threads(4, name="none")
    threads.end()
    assert not [thread for thread in threading.enumerate() if thread.name == "none"]


HANGING = """
import time
from mmrl.threads import Threads
Threads(1, name="hanging").submit(time.sleep, 600)
"""


def test_a_process_ends_though_a_thread_of_it_hangs():
    subprocess.run([sys.executable, "-c", HANGING], check=True, timeout=PATIENCE_S)
