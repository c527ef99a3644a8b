"""What processes say to each other arrives whole or not at all."""

from __future__ import annotations

import io
import signal

import pytest

from mmrl.children import describe_end, receive, send, start

CHILD = """
from mmrl.children import attach, receive, send
told, answers, _ = attach()
print("this must garble nothing")
while (body := receive(told)) is not None:
    send(answers, body[::-1])
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


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 10])
def test_a_message_that_is_cut_off_is_none(cut):
    whole = io.BytesIO()
    send(whole, b"abc")
    assert receive(io.BytesIO(whole.getvalue())) == b"abc"
    assert receive(io.BytesIO(whole.getvalue()[:cut])) is None


def test_an_end_is_told_in_words():
    assert describe_end(3) == "exit code 3"
    assert describe_end(-signal.SIGSEGV) == "SIGSEGV"
