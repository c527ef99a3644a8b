"""Limits of requests and tokens, patience, and leaving early, measured against a local server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmrl.verify.chat import Chat, ChatError, Endpoint


def ask_all(chat: Chat, count: int, **sampling) -> float:
    """Ask so many questions from eight threads and return how long it took."""
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda n: chat.ask([{"role": "user", "content": str(n)}], **sampling), range(count)
            )
        )
    return time.monotonic() - began


def says_of(tokens: int):
    usage = {"prompt_tokens": tokens - 1, "completion_tokens": 1}
    return lambda text, asked: {"choices": [{"message": {"content": "x"}}], "usage": usage}


def test_tokens_keep_the_rate_as_the_server_counts_them(serve):
    server = serve(says_of(100))
    chat = Chat(Endpoint(base_url=server.url, model="m", tokens_per_minute=120_000))
    # 2,000 tokens a second: eleven replies of 100 need the time of ten
    assert ask_all(chat, 11, max_tokens=100) >= 0.5


def test_what_was_set_aside_and_not_spent_is_given_back(serve):
    server = serve(says_of(10))
    chat = Chat(Endpoint(base_url=server.url, model="m", tokens_per_minute=6_000))
    chat.ask([{"role": "user", "content": "first"}], max_tokens=300)
    # the next six would take 18 s if the 300 tokens that each may need were booked
    assert ask_all(chat, 6, max_tokens=300) < 6


def test_when_one_is_told_to_wait_all_wait(serve):
    times = []
    lock = threading.Lock()

    def trouble(number: int) -> str:
        with lock:
            times.append(time.monotonic())
        return "patience" if number == 0 else ""

    server = serve(trouble=trouble)
    server.RequestHandlerClass._patience = lambda self, asked: self._send(
        429, b"{}", retry_after="0.5"
    )
    chat = Chat(Endpoint(base_url=server.url, model="m", first_wait_s=0.01, per_minute=6000))
    ask_all(chat, 40)
    told = times[0]
    quiet = [at for at in times if told + 0.15 < at < told + 0.45]
    assert not quiet
    assert max(times) >= told + 0.5


def test_a_closed_chat_gives_up_waiting(serve):
    server = serve(trouble=lambda number: "broken")
    chat = Chat(Endpoint(base_url=server.url, model="m", first_wait_s=30))
    threading.Timer(0.2, chat.close).start()
    began = time.monotonic()
    with pytest.raises(ChatError):
        chat.ask([{"role": "user", "content": "x"}])
    assert time.monotonic() - began < 5


def test_draws_are_kept_apart_and_models_keep_their_replies(serve, tmp_path):
    server = serve(lambda text, asked: str(server.count))
    where = {"model": "m", "cache": tmp_path, "known_as": "m"}
    chat = Chat(Endpoint(base_url=server.url, **where))
    question = [{"role": "user", "content": "x"}]
    first, second = chat.ask(question), chat.ask(question, draw=1)
    assert (first.text, second.text) == ("1", "2")
    other = Chat(Endpoint(base_url="http://127.0.0.1:1/v1", **where))
    assert [other.ask(question, draw=draw).text for draw in (0, 1)] == ["1", "2"]
    assert other.ask(question).cached
    assert other.ask(question).prompt_tokens == 10


def test_ctrl_c_leaves_at_once_and_keeps_what_was_answered(serve, sums, tmp_path):
    server = serve(trouble=lambda number: "" if number < 3 else "stalls_long")
    release = threading.Event()
    server.RequestHandlerClass._stalls_long = lambda self, asked: release.wait(20)
    rows = tmp_path / "rows.jsonl"
    from mmrl.data.writing import write_rows

    write_rows(sums(8), rows)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mmrl", "data", "build", "cold_start", "chain=ton"),
            *(f"in={rows}", f"out={tmp_path / 'cold.jsonl'}", f"cache={tmp_path / 'replies'}"),
            *(f"teachers.own.base_url={server.url}", "concurrency=4"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 20
    while server.count < 7 and time.monotonic() < deadline:
        time.sleep(0.01)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=15)
    release.set()
    assert time.monotonic() - began < 3
    assert process.returncode == 130
    assert error.splitlines()[-1] == "mmrl: stopped; what was answered is kept"
    assert len(list((tmp_path / "replies").rglob("*.json"))) == 3
