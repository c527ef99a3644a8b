"""A chat endpoint with OpenAI's protocol: cached by content, rate-limited, retried.

What cannot be had after the last attempt is a `ChatError`, never an empty reply. Safe to use from
many threads: equal questions that are asked at once are sent once.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl

    import httpx
    import tenacity

LONGEST_REPLY = 4_000_000
"""Bytes of a response that are read; a longer one is an error."""
LONGEST_WAIT_S = 60.0
"""Between two attempts, whatever the server asks for."""

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class ChatError(Exception):
    """The endpoint did not give a usable reply."""


class _Passing(Exception):
    """A failure that another attempt may not have."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where to ask, and how patiently."""

    base_url: str
    """Up to and including `/v1`."""
    model: str
    key: str | None = field(default=None, repr=False)
    """Sent as a bearer token; None for servers that want none."""
    timeout_s: float = 60.0
    """For one attempt, from the request to the last byte."""
    attempts: int = 5
    first_wait_s: float = 1.0
    """Before the second attempt; it doubles from there, with some chance added."""
    per_minute: float | None = None
    """Most requests in a minute, by this process."""
    cache: Path | None = None
    """Folder of the replies by content; None to ask every time."""

    def __post_init__(self) -> None:
        """Refuse what could never be asked."""
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"base_url {self.base_url!r} is no http or https address")
        if url.username or url.password:
            raise ValueError("base_url holds a user or password: put the key into the environment")
        if self.attempts < 1 or self.timeout_s <= 0 or (self.per_minute or 1) <= 0:
            raise ValueError("attempts, timeout_s and per_minute have to be positive")


class Chat:
    """Asks one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Remember the endpoint; nothing is sent yet."""
        self.endpoint = endpoint
        self.sent = 0
        """Requests that were sent, further attempts included."""
        self._lock = threading.Lock()
        self._asking: weakref.WeakValueDictionary[str, _Turn] = weakref.WeakValueDictionary()
        self._next_at = 0.0
        self._client: httpx.Client | None = None

    def reply(self, messages: Sequence[Mapping[str, Any]], **sampling: Any) -> str:
        """Return the text that the model answers.

        Args:
            messages: Chat messages as the protocol has them.
            sampling: Further fields of the request, such as `temperature` and `max_tokens`.

        Raises:
            ChatError: no attempt brought a reply.
        """
        request = {"model": self.endpoint.model, "messages": list(messages), **sampling}
        name = _name(self.endpoint.base_url, request)
        with self._lock:
            turn = self._asking.setdefault(name, _Turn())
        with turn.lock:
            known = self._cached(name)
            if known is not None:
                return known
            text = self._ask(request)
            self._keep(name, text)
            return text

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ask(self, request: Mapping[str, Any]) -> str:
        import tenacity

        backoff = tenacity.wait_exponential_jitter(
            initial=self.endpoint.first_wait_s,
            max=LONGEST_WAIT_S,
            jitter=self.endpoint.first_wait_s,
        )

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.wait_s if isinstance(error, _Passing) else 0.0
            return min(LONGEST_WAIT_S, max(asked, backoff(state)))

        attempts = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.endpoint.attempts),
            retry=tenacity.retry_if_exception_type(_Passing),
            wait=wait,
            reraise=True,
        )
        try:
            return attempts(self._send, request)
        except _Passing as error:
            raise ChatError(f"{error}, after {self.endpoint.attempts} attempts") from error

    def _send(self, request: Mapping[str, Any]) -> str:
        """Send one request and return the text of its reply."""
        import httpx

        self._await_turn()
        deadline = time.monotonic() + self.endpoint.timeout_s
        body = bytearray()
        try:
            with self._connected().stream("POST", "chat/completions", json=request) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > LONGEST_REPLY:
                        raise ChatError(f"the reply is longer than {LONGEST_REPLY} bytes")
                    if time.monotonic() > deadline:
                        raise _Passing(f"no whole reply within {self.endpoint.timeout_s:g} s")
        except httpx.TimeoutException as error:
            raise _Passing(f"no reply within {self.endpoint.timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise _Passing(f"the connection failed ({type(error).__name__})") from error
        except httpx.HTTPError as error:
            raise ChatError(f"the request failed ({type(error).__name__})") from error
        if response.status_code != 200:
            self._refuse(response, bytes(body))
        return _text(bytes(body))

    def _refuse(self, response: httpx.Response, body: bytes) -> None:
        shown = body.decode(errors="replace")
        if self.endpoint.key:
            shown = shown.replace(self.endpoint.key, "***")
        shown = " ".join(shown[:200].split())
        message = f"the server said {response.status_code}: {shown or 'nothing more'}"
        if response.status_code in _AGAIN:
            raise _Passing(message, wait_s=_seconds(response.headers.get("retry-after", "")))
        raise ChatError(message)

    def _await_turn(self) -> None:
        pause = 60.0 / self.endpoint.per_minute if self.endpoint.per_minute else 0.0
        with self._lock:
            self.sent += 1
            start = max(time.monotonic(), self._next_at)
            self._next_at = start + pause
        time.sleep(max(0.0, start - time.monotonic()))

    def _connected(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._client is None:
                key = self.endpoint.key
                self._client = httpx.Client(
                    base_url=f"{self.endpoint.base_url.rstrip('/')}/",
                    headers={"Authorization": f"Bearer {key}"} if key else {},
                    timeout=self.endpoint.timeout_s,
                    verify=_certificates(),
                )
            return self._client

    def _cached(self, name: str) -> str | None:
        if self.endpoint.cache is None:
            return None
        try:
            kept = json.loads(_file(self.endpoint.cache, name).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return (
            kept["reply"] if isinstance(kept, dict) and isinstance(kept.get("reply"), str) else None
        )

    def _keep(self, name: str, text: str) -> None:
        if self.endpoint.cache is None:
            return
        file = _file(self.endpoint.cache, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False, mode="w") as part:
            json.dump({"model": self.endpoint.model, "reply": text}, part)
        os.replace(part.name, file)


@functools.cache
def _certificates() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()


class _Turn:
    """Whose turn it is to ask one question; it lives as long as somebody asks."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def _name(base_url: str, request: Mapping[str, Any]) -> str:
    content = json.dumps([base_url, request], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()


def _file(cache: Path, name: str) -> Path:
    return cache / name[:2] / f"{name}.json"


def _text(body: bytes) -> str:
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _Passing("the reply is no chat completion") from error
    if not isinstance(text, str) or not text.strip():
        raise _Passing("the reply holds no text")
    return text


def _seconds(retry_after: str) -> float:
    try:
        wait = float(retry_after)
    except ValueError:
        return 0.0
    return wait if 0 < wait < float("inf") else 0.0
