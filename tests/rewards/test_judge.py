"""`judge` against a real local server that answers, stalls, drops, refuses and babbles."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmrl.data.golds import check_golds
from mmrl.errors import RewardError
from mmrl.judging.panel import Panel
from mmrl.reward import build_verifier, check_row_term, sample_of
from mmrl.types import Row, Verdict, VerifierTerm
from mmrl.verify.chat import Chat, ChatError, Endpoint

Answering = Callable[[BaseHTTPRequestHandler, dict], None]


class Server(ThreadingHTTPServer):
    """Speaks the protocol; `script` says what to do with each request, the last one for ever."""

    daemon_threads = True

    def __init__(self, script: list[Answering]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.requests, self.headers_seen = script, [], []
        self.times: list[float] = []
        self.running = self.most_running = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address) -> None:
        """A client that went away is part of these tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            turn = len(self.server.requests)
            self.server.requests.append((self.path, asked))
            self.server.headers_seen.append(dict(self.headers))
            self.server.times.append(time.monotonic())
            self.server.running += 1
            self.server.most_running = max(self.server.most_running, self.server.running)
        try:
            self.server.script[min(turn, len(self.server.script) - 1)](self, asked)
        finally:
            with self.server.lock:
                self.server.running -= 1

    def log_message(self, *args: object) -> None:
        pass


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def says(text: object) -> Answering:
    body = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
    return lambda handler, asked: send(handler, 200, body)


def refuses(status: int, **headers: str) -> Answering:
    return lambda handler, asked: send(handler, status, b'{"error": "go away"}', **headers)


def stalls(handler: BaseHTTPRequestHandler, asked: dict) -> None:
    time.sleep(1.0)


def dribbles(handler: BaseHTTPRequestHandler, asked: dict) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    for _ in range(20):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def drops(handler: BaseHTTPRequestHandler, asked: dict) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def babbles(handler: BaseHTTPRequestHandler, asked: dict) -> None:
    send(handler, 200, b"<html>not json")


@pytest.fixture
def serve(monkeypatch, tmp_path) -> Iterator[Callable[..., Server]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MMRL_JUDGE_URL", raising=False)
    servers = []

    def start(*script: Answering) -> Server:
        server = Server(list(script))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


QUESTION = [{"role": "user", "content": [{"type": "text", "text": "Who painted {answer}?"}]}]


def judge(server: Server, text: str = "Goya", answer: str = "Francisco Goya", **params) -> Verdict:
    row = Row(id="r", source="s", prompt=QUESTION, answer=answer, verifier=())
    params = {"base_url": server.url, "model": "m", "attempts": 1} | params
    return build_verifier("judge", params)(sample_of(row, f"<answer>{text}</answer>"))


@pytest.mark.parametrize(
    ("reply", "score"),
    [("True", 1), ("true.", 1), ("Yes, it is", 1), ("False", 0), ("**no**", 0), ("incorrect", 0)],
)
def test_the_first_word_of_the_reply_decides(serve, reply, score):
    assert judge(serve(says(reply))) == Verdict(score=score)


@pytest.mark.parametrize(
    "reply", ["perhaps", "The answer is true", "", "42", "\x00", None, ["true"]]
)
def test_a_reply_that_cannot_be_read_is_an_error_and_not_a_zero(serve, reply):
    verdict = judge(serve(says(reply)))
    assert (verdict.score, verdict.status) == (None, "error")


@pytest.mark.parametrize(
    ("reply", "score"),
    [("7", 0.75), ("Score: 9", 1), ("1", 0), ("0", None), ("7 of 9", None), ("NaN", None)],
)
def test_a_number_is_scaled_to_the_unit_interval(serve, reply, score):
    verdict = judge(serve(says(reply)), reply="score", scale=[1, 9])
    assert verdict.score == score
    assert verdict.status == ("error" if score is None else "ok")


def test_the_judge_sees_question_reference_and_answer_and_fills_nothing_twice(serve):
    server = serve(says("true"))
    judge(server, "{reference}")
    path, asked = server.requests[0]
    text = asked["messages"][0]["content"]
    assert path == "/v1/chat/completions"
    assert (asked["model"], asked["temperature"]) == ("m", 0)
    assert "Who painted {answer}?" in text
    assert "Francisco Goya" in text
    assert "\n{reference}\n" in text


def test_the_key_comes_from_the_environment_and_is_never_shown(serve, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sesame-open")
    server = serve(
        lambda handler, asked: send(
            handler, 401, f"bad key {handler.headers['authorization']}".encode()
        )
    )
    verdict = judge(server, key_env="SOME_KEY")
    assert server.headers_seen[0]["Authorization"] == "Bearer sesame-open"
    assert verdict.status == "error"
    assert "401" in verdict.detail
    assert "sesame" not in verdict.detail
    assert "sesame" not in repr(Endpoint(base_url="http://x/v1", model="m", key="sesame-open"))


def test_without_a_key_none_is_sent(serve):
    server = serve(says("true"))
    judge(server, key_env="MISSING_KEY")
    assert "Authorization" not in server.headers_seen[0]


def test_address_and_model_may_stand_in_the_environment(serve, monkeypatch):
    server = serve(says("true"))
    monkeypatch.setenv("MMRL_JUDGE_URL", server.url)
    monkeypatch.setenv("MMRL_JUDGE_MODEL", "other")
    assert judge(server, base_url=None, model=None).score == 1
    assert server.requests[0][1]["model"] == "other"


@pytest.mark.parametrize(
    "trouble", [refuses(429, retry_after="0"), refuses(503), drops, babbles, stalls, dribbles]
)
def test_trouble_that_passes_is_overcome(serve, trouble):
    server = serve(trouble, trouble, says("true"))
    chat = Chat(_patient(server, attempts=3, timeout_s=0.3))
    assert chat.reply([{"role": "user", "content": "?"}]) == "true"
    assert chat.sent == 3
    chat.close()


@pytest.mark.parametrize("trouble", [refuses(429), refuses(500), drops, stalls])
def test_trouble_that_stays_is_an_error_after_the_last_attempt(serve, trouble):
    server = serve(trouble)
    chat = Chat(_patient(server, attempts=2, timeout_s=0.3))
    with pytest.raises(ChatError, match="after 2 attempts"):
        chat.reply([{"role": "user", "content": "?"}])
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 301])
def test_a_refusal_that_will_not_pass_is_not_repeated(serve, status):
    server = serve(refuses(status, location="http://127.0.0.1:1/"))
    verdict = judge(server, attempts=5)
    assert verdict.status == "error"
    assert len(server.requests) == 1


def test_the_server_says_how_long_to_wait(serve):
    server = serve(refuses(429, retry_after="0.4"), says("true"))
    Chat(_patient(server, attempts=2)).reply([{"role": "user", "content": "?"}])
    assert server.times[1] - server.times[0] >= 0.4


def test_nobody_at_the_address_is_an_error(serve):
    server = serve(says("true"))
    url = server.url
    server.shutdown()
    server.server_close()
    row = Row(id="r", source="s", prompt=QUESTION, answer="x", verifier=())
    params = {"base_url": url, "model": "m", "attempts": 1}
    verdict = build_verifier("judge", params)(sample_of(row, "<answer>x</answer>"))
    assert (verdict.score, verdict.status) == (None, "error")


def test_an_endless_reply_is_cut_off_with_an_error(serve):
    server = serve(lambda handler, asked: send(handler, 200, b" " * 5_000_000))
    assert judge(server).status == "error"


def test_replies_are_kept_by_content_and_survive_the_process(serve, tmp_path):
    server = serve(says("true"))
    for model in ("m", "m", "n"):
        assert judge(server, model=model, cache=str(tmp_path)).score == 1
    again = Chat(Endpoint(base_url=server.url, model="m", cache=tmp_path))
    files = list(tmp_path.rglob("*.json"))
    assert (len(server.requests), len(files), again.sent) == (2, 2, 0)
    assert judge(server, "Manet", cache=str(tmp_path)).score == 1
    assert len(server.requests) == 3
    assert all(json.loads(file.read_text())["reply"] == "true" for file in files)


def test_failures_are_not_kept(serve, tmp_path):
    server = serve(refuses(400), says("true"))
    assert judge(server, cache=str(tmp_path)).status == "error"
    assert judge(server, cache=str(tmp_path)).score == 1


def test_a_torn_cache_file_is_asked_for_again(serve, tmp_path):
    server = serve(says("true"))
    judge(server, cache=str(tmp_path))
    for file in tmp_path.rglob("*.json"):
        file.write_text('{"rep')
    assert judge(server, cache=str(tmp_path)).score == 1
    assert len(server.requests) == 2


def test_only_the_owner_may_read_what_was_asked(serve, tmp_path):
    judge(serve(says("true")), cache=str(tmp_path / "new"))
    (file,) = (tmp_path / "new").rglob("*.json")
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600


def test_equal_questions_at_once_are_sent_once(serve, tmp_path):
    def slowly(handler: BaseHTTPRequestHandler, asked: dict) -> None:
        time.sleep(0.2)
        says("true")(handler, asked)

    server = serve(slowly)
    chat = Chat(Endpoint(base_url=server.url, model="m", cache=tmp_path))
    with ThreadPoolExecutor(8) as executor:
        replies = executor.map(lambda _: chat.reply([{"role": "user", "content": "?"}]), range(8))
        assert list(replies) == ["true"] * 8
    assert len(server.requests) == 1


def test_requests_keep_the_rate(serve):
    server = serve(says("true"))
    chat = Chat(Endpoint(base_url=server.url, model="m", per_minute=600))
    start = time.monotonic()
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(lambda n: chat.reply([{"role": "user", "content": str(n)}]), range(5)))
    assert server.times[-1] - start >= 0.4


def test_a_panel_asks_for_many_samples_at_once_and_keeps_their_order(serve):
    def echoes(handler: BaseHTTPRequestHandler, asked: dict) -> None:
        time.sleep(0.1)
        says("true" if "goya" in asked["messages"][0]["content"] else "false")(handler, asked)

    server = serve(echoes)
    row = Row(id="r", source="s", prompt=[], answer="x", verifier=())
    params = {"base_url": server.url, "model": "m", "cache": None}
    answers = ["goya", "manet", "goya", "monet", "goya 2", "degas"]
    samples = [[sample_of(row, f"<answer>{answer}</answer>")] for answer in answers]
    panel = Panel()
    found = panel.judge(VerifierTerm(name="judge", params=params), samples)
    panel.close()
    assert [group[0].score for group in found] == [1, 0, 1, 0, 1, 0]
    assert server.most_running > 1


@pytest.mark.parametrize(
    "params", [{"base_url": "http://x/v1"}, {"key_env": "HOME"}, {"cache": "/"}]
)
def test_a_data_row_cannot_send_anything_to_an_address_of_its_choice(params):
    term = VerifierTerm(name="judge", params=params)
    row = Row(id="r", source="s", prompt=[], answer="x", verifier=(term,))
    with pytest.raises(RewardError, match="data row"):
        check_row_term(term)
    panel = Panel()
    assert "data row" in str(check_golds([row], panel).errors[0])
    panel.close()


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"base_url": "file:///etc/passwd"},
        {"base_url": "http://user:word@host/v1"},
        {"base_url": "http://x/v1", "attempts": 0},
        {"base_url": "http://x/v1", "prompt": "no place"},
        {"base_url": "http://x/v1", "scale": [1, 0]},
    ],
)
def test_a_judge_that_cannot_work_is_refused_before_anything_runs(params, monkeypatch):
    monkeypatch.delenv("MMRL_JUDGE_URL", raising=False)
    with pytest.raises(RewardError, match="judge"):
        build_verifier("judge", {"model": "m"} | params)


def _patient(server: Server, **options) -> Endpoint:
    return Endpoint(base_url=server.url, model="m", first_wait_s=0.01, **options)
