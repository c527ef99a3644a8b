"""What processes say to each other arrives whole or not at all."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import psutil
import pytest

from mmrl.children import describe_end, receive, send, start

CHILD = """
from mmrl.children import attach, receive, send
told, answers, _ = attach()
print("this must garble nothing")
while (body := receive(told)) is not None:
    send(answers, body[::-1])
"""


PARENT = """
import time
from mmrl.children import start
child = start("busy", env={})
child.hear()
print(child.process.pid, flush=True)
time.sleep(600)
"""
BUSY = """
import time
from mmrl.children import attach, send
_, answers, _ = attach()
send(answers, b"here")
time.sleep(600)
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    (tmp_path / "backwards.py").write_text(CHILD)
    monkeypatch.syspath_prepend(tmp_path)
    child = start("backwards", env={})
    yield child
    child.end()


def test_a_child_answers_and_is_gone_when_it_is_ended(child):
    for body in (b"abc", b"", b"x" * 1_000_000):
        child.tell(body)
        assert child.hear() == body[::-1]
    assert not child.has_said(0.0)
    child.stop()
    assert child.has_said(30.0)
    assert child.hear() is None
    child.tell(b"too late")
    assert child.end() == -signal.SIGKILL


def test_a_child_ends_amid_its_work_when_its_parent_is_killed(tmp_path):
    (tmp_path / "busy.py").write_text(BUSY)
    found = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=found) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    assert not psutil.wait_procs([child], timeout=30)[1]


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 10])
def test_a_message_that_is_cut_off_is_none(cut):
    whole = io.BytesIO()
    send(whole, b"abc")
    assert receive(io.BytesIO(whole.getvalue())) == b"abc"
    assert receive(io.BytesIO(whole.getvalue()[:cut])) is None


def test_an_end_is_told_in_words():
    assert describe_end(3) == "exit code 3"
    assert describe_end(-signal.SIGSEGV) == "SIGSEGV"
