"""A local server that speaks the chat protocol, rows to ask about, and chains made of mappings."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmrl.coldstart.chain import run_chain
from mmrl.coldstart.loading import check_chain
from mmrl.config.compose import Tree
from mmrl.data.rows import parse_rows


class Server(ThreadingHTTPServer):
    """Answers what `say` says; `trouble` says with which requests something else happens."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, say: Callable[[str, dict], object], trouble: Callable[[int], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.say, self.trouble = say, trouble
        self.lock = threading.Lock()
        self.count = 0
        self.asked: list[dict] = []
        """Every request, in the order of arrival."""
        self.answered: Counter[str] = Counter()
        """Requests that were answered whole, by their content."""
        self.keys: list[str | None] = []
        self.running = self.most_running = 0
        self.delay_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address) -> None:
        """A client that was killed is part of these tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server = self.server
        with server.lock:
            number = server.count
            server.count += 1
            server.asked.append(asked)
            server.keys.append(self.headers.get("authorization"))
            server.running += 1
            server.most_running = max(server.most_running, server.running)
        try:
            time.sleep(server.delay_s)
            getattr(self, f"_{server.trouble(number) or 'answer'}")(asked)
        finally:
            with server.lock:
                server.running -= 1

    def _answer(self, asked: dict) -> None:
        said = self.server.say(_text_of(asked), asked)
        reply = said if isinstance(said, dict) else _completion(str(said), asked)
        self._send(200, json.dumps(reply).encode())
        with self.server.lock:
            content = json.dumps(asked, sort_keys=True)
            self.server.answered[hashlib.sha256(content.encode()).hexdigest()] += 1

    def _busy(self, asked: dict) -> None:
        self._send(429, b'{"error": "slow down"}', retry_after="0.01")

    def _broken(self, asked: dict) -> None:
        self._send(500, b'{"error": "oops"}')

    def _refuses(self, asked: dict) -> None:
        self._send(400, b'{"error": "too long"}')

    def _forbids(self, asked: dict) -> None:
        self._send(401, b'{"error": "bad key"}')

    def _babbles(self, asked: dict) -> None:
        self._send(200, b'{"choices": [{"message": ')

    def _drops(self, asked: dict) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _stalls(self, asked: dict) -> None:
        time.sleep(0.6)
        self.close_connection = True

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def _text_of(asked: dict) -> str:
    content = asked["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def _completion(text: str, asked: dict) -> dict:
    usage = {"prompt_tokens": 10, "completion_tokens": len(text.split())}
    message = {"role": "assistant", "content": text}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


@pytest.fixture
def serve(monkeypatch, tmp_path) -> Iterator[Callable[..., Server]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-home"))
    servers = []

    def start(
        say: Callable[[str, dict], object] = lambda text, asked: f"said: {text}",
        trouble: Callable[[int], str] = lambda number: "",
    ) -> Server:
        server = Server(say, trouble)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def sums():
    """Make rows that ask for sums: row n asks for n + 1 and is right with that number."""

    def make(count: int, **changes):
        raws = [
            {
                "id": f"r{n}",
                "source": "sums",
                "prompt": [{"role": "user", "content": f"What is {n} + 1?"}],
                "answer": str(n + 1),
                "verifier": "exact",
                **changes,
            }
            for n in range(count)
        ]
        return parse_rows(
            [(f"sums:{raw['id']}", raw) for raw in raws], folder=_nowhere(), name="sums"
        )

    return make


def _nowhere():
    from pathlib import Path

    return Path(".")


@pytest.fixture
def make_chain():
    """Make a chain of steps as YAML has them, whose teacher `t` is the server."""

    def make(steps: dict, server: Server | None = None, *, teacher: dict | None = None, **keys):
        known = {"base_url": server.url, "model": "m", "first_wait_s": 0.01} if server else {}
        teachers = {"t": known | (teacher or {})} if server or teacher else {}
        tree = Tree()
        tree.lay((), {"teachers": teachers, "steps": steps, **keys}, "test.yaml")
        return check_chain("test", tree)

    return make


@pytest.fixture
def run(make_chain, tmp_path):
    """Run steps over rows, with a cache of this test's own."""

    def go(steps: dict, rows, server: Server | None = None, **keys):
        chain = make_chain(steps, server, **keys)
        return run_chain(chain, rows, cache=tmp_path / "replies")

    return go
