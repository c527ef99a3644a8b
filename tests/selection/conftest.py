"""Rows that ask for sums, and a local server whose answers depend on the row and the draw."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmrl.data.rows import load_rows


class Server(ThreadingHTTPServer):
    """Answers `say(text, number of times this text was asked before)`."""

    daemon_threads = True

    def __init__(self, say: Callable[[str, int], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.say, self.lock = say, threading.Lock()
        self.asked: list[dict] = []
        self.times: dict[str, int] = {}

    @property
    def policy(self) -> dict:
        url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        return {"base_url": url, "model": "m", "first_wait_s": 0.01}

    def handle_error(self, request, client_address) -> None:
        """A client that went away is part of these tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = asked["messages"][-1]["content"]
        with self.server.lock:
            self.server.asked.append(asked)
            turn = self.server.times.get(text, 0)
            self.server.times[text] = turn + 1
        message = {"role": "assistant", "content": self.server.say(text, turn)}
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        body = json.dumps({"choices": [{"message": message}], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch, tmp_path) -> Iterator[Callable[..., Server]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-home"))
    servers = []

    def start(say: Callable[[str, int], str]) -> Server:
        server = Server(say)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def rows_file(tmp_path):
    """Write rows of which number n is answered by n + 1."""

    def write(count: int, name: str = "rows.jsonl"):
        raws = [
            {
                "id": f"r{n}",
                "source": "sums",
                "prompt": [{"role": "user", "content": f"What is {n} + 1?"}],
                "answer": str(n + 1),
                "verifier": "exact",
            }
            for n in range(count)
        ]
        path = tmp_path / name
        path.write_text("".join(json.dumps(raw) + "\n" for raw in raws))
        return path

    return write


@pytest.fixture
def rows(rows_file):
    return lambda count: load_rows(rows_file(count))
