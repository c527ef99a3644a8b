"""What the trainer says to a server that is slow, gone, away for a moment, or no vLLM at all."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from mmrl import compat
from mmrl.cli import cli
from mmrl.commands.serve import NEEDED, command, environment
from mmrl.engines.vllm_client import VllmClient
from mmrl.errors import ConfigError, DataError, ProcessError


@contextmanager
def _answering(answers):
    """A server that gives the answers (status, text, seconds to wait) in turn, the last one for
    ever."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, text, wait_s = answers[min(len(asked), len(answers)) - 1]
            time.sleep(wait_s)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(text.encode())

        do_POST = do_GET

        def log_message(self, format, *args):  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _check(client: VllmClient) -> int:
    return client.check(model_class="Model", encode=lambda text: [1, 2])


def test_a_server_that_is_away_for_a_moment_is_asked_again():
    answers = [(503, "starting", 0.0), (502, "", 0.0), (200, '{"found": 1}', 0.0)]
    with _answering(answers) as (url, asked):
        client = VllmClient(url=url, timeout_s=5)
        assert client.post("/generate", {"a": 1}) == {"found": 1}
    assert asked == ["/generate"] * 3


def test_a_refusal_is_not_asked_again_and_names_the_row():
    with _answering([(400, "too\nlong", 0.0)]) as (url, asked):
        client = VllmClient(url=url, timeout_s=5)
        with pytest.raises(DataError, match=r"^row r1: rollout\.vllm\.url: .* 400: too long$"):
            client.post("/generate", about="row r1: ")
    assert len(asked) == 1


def test_a_server_that_stays_away_is_one_line_when_patience_ends():
    with _answering([(503, "starting", 0.0)]) as (url, asked):
        client = VllmClient(url=url, timeout_s=5, patience_s=0.6)
        with pytest.raises(DataError, match="answers 503: starting"):
            client.post("/generate")
    assert len(asked) > 1


def test_a_server_that_hangs_is_one_line_when_time_is_up():
    with _answering([(200, "{}", 1.5)]) as (url, asked):
        client = VllmClient(url=url, timeout_s=0.3)
        began = time.monotonic()
        with pytest.raises(
            ProcessError, match=r"no answer within rollout\.vllm\.timeout_s \(0\.3\)"
        ):
            client.post("/generate")
        assert time.monotonic() - began < 1.4
    assert len(asked) == 1, "it would only be slow again"


def test_no_server_at_all_is_a_mistake_of_the_configuration_when_a_run_begins():
    client = VllmClient(url="http://127.0.0.1:9", timeout_s=5, patience_s=0.2)
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:9/v1/models: ConnectError: .*mmrl serve"):
        _check(client)
    with pytest.raises(ProcessError, match="ConnectError"):
        client.post("/generate")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([(200, "<html>", 0.0)], "does not answer as vLLM does"),
        ([(200, "[]", 0.0)], "does not answer as vLLM does"),
        ([(200, '{"data": []}', 0.0), (404, "no", 0.0)], "takes no weights; start it with mmrl"),
    ],
)
def test_another_server_is_one_line(answers, message):
    with _answering(answers) as (url, _), pytest.raises(ConfigError, match=message) as error:
        _check(VllmClient(url=url, timeout_s=5))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"logprobs_mode": "raw_logprobs"}, "start it with --logprobs-mode processed_logprobs"),
        ({"multimodal_config": {"mm_device_do_normalize": True}}, "--no-mm-device-do-normalize"),
        ({"class": "Other"}, "serves some/model, a Other, where a Model is trained"),
        ({"tokens": [1, 3]}, r"has another tokenizer \(some/model\) than model\.path"),
    ],
)
def test_a_server_is_asked_how_it_was_started_and_what_it_serves(changes, message):
    model = {
        "model": "some/model",
        "tokenizer": "some/model",
        "logprobs_mode": "processed_logprobs",
    }
    model |= {"multimodal_config": None}
    said = {"results": [f"{changes.get('class', 'Model')}()(\n  (visual): ..."]}
    bodies = [
        {"data": [{"max_model_len": 77}]},
        {"vllm_config": {"model_config": model | changes}},
        said,
        {"tokens": changes.get("tokens", [1, 2])},
    ]
    with _answering([(200, json.dumps(body), 0.0) for body in bodies]) as (url, _):
        client = VllmClient(url=url, timeout_s=5)
        if message is None:
            assert _check(client) == 77
        else:
            with pytest.raises(ConfigError, match=message):
                _check(client)


def test_a_server_of_our_own_listens_to_this_machine_unless_told_otherwise():
    words = command("some/model", ("--host", "0.0.0.0", "--port", "9"))
    assert words[0] == sys.executable
    assert words[words.index("--model") + 1] == "some/model"
    assert words.index("127.0.0.1") < words.index("0.0.0.0")
    assert set(NEEDED) <= set(words)
    assert words[-2:] == ["--port", "9"]


def test_processes_of_a_server_find_a_torchvision_that_they_can_import(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/own")
    for path, expected in (("/startup", "/startup:/own"), (None, "/own")):
        monkeypatch.setattr(compat, "startup_path", lambda path=path: path)
        assert environment()["PYTHONPATH"] == expected
    assert environment()["VLLM_SERVER_DEV_MODE"] == "1"


def test_a_server_without_vllm_is_one_line(monkeypatch):
    monkeypatch.setattr("mmrl.commands.serve.find_spec", lambda name: None)
    result = CliRunner().invoke(cli, ["serve", "some/model", "--port", "9"])
    assert isinstance(result.exception, ConfigError)
    assert "vllm is not installed; pip install 'mmrl-toolkit[vllm]'" in str(result.exception)
