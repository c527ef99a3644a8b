"""A chat endpoint with OpenAI's protocol: cached by content, rate-limited, retried.

What cannot be had after the last attempt is a `ChatError`, never an empty reply. Safe to use from
many threads: equal questions that are asked at once are sent once.
"""

from __future__ import annotations

import functools
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mmrl.verify.pace import Pace
from mmrl.verify.reply import Reply, keep_reply, kept_reply, read_reply, reply_name

if TYPE_CHECKING:
    import ssl

    import httpx
    import tenacity

LONGEST_REPLY = 4_000_000
"""Bytes of a response that are read; a longer one is an error."""
LONGEST_WAIT_S = 60.0
"""Between two attempts, whatever the server asks for."""

_CLOSED = "the chat was closed"
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class ChatError(Exception):
    """The endpoint did not give a usable reply."""

    def __init__(self, message: str, status: int | None = None) -> None:
        """Say what happened, and the server's HTTP status where it refused."""
        super().__init__(message)
        self.status = status


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
    tokens_per_minute: float | None = None
    """Most tokens in a minute, read and written, as the server counts them."""
    known_as: str | None = None
    """Stands for the address in the cache, so that a model that moves keeps its replies."""
    cache: Path | None = None
    """Folder of the replies by content; None to ask every time."""

    def __post_init__(self) -> None:
        """Refuse what could never be asked."""
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"base_url {self.base_url!r} is no http or https address")
        if url.username or url.password:
            raise ValueError("base_url holds a user or password: put the key into the environment")
        rates = (self.per_minute or 1, self.tokens_per_minute or 1)
        if self.attempts < 1 or self.timeout_s <= 0 or min(rates) <= 0:
            raise ValueError("attempts, timeout_s and the limits per minute have to be positive")


class Chat:
    """Asks one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Remember the endpoint; nothing is sent yet."""
        self.endpoint = endpoint
        self.sent = 0
        """Requests that were sent, further attempts included."""
        self._lock = threading.Lock()
        self._asking: weakref.WeakValueDictionary[str, _Turn] = weakref.WeakValueDictionary()
        self._pace = Pace(endpoint.per_minute, endpoint.tokens_per_minute)
        self._client: httpx.Client | None = None
        self._closed = threading.Event()

    def reply(self, messages: Sequence[Mapping[str, Any]], **sampling: Any) -> str:
        """Return the text that the model answers; see `ask`."""
        return self.ask(messages, **sampling).text

    def ask(
        self, messages: Sequence[Mapping[str, Any]], *, draw: int = 0, **sampling: Any
    ) -> Reply:
        """Return what the model answers.

        Args:
            messages: Chat messages as the protocol has them.
            draw: Tells several replies to the same question apart in the cache; it is not sent.
            sampling: Further fields of the request, such as `temperature` and `max_tokens`.

        Raises:
            ChatError: no attempt brought a reply.
        """
        request = {"model": self.endpoint.model, "messages": list(messages), **sampling}
        server = self.endpoint.known_as or self.endpoint.base_url
        name = reply_name(server, request, draw)
        with self._lock:
            turn = self._asking.setdefault(name, _Turn())
        with turn.lock:
            known = kept_reply(self.endpoint.cache, name)
            if known is not None:
                return known
            reply = self._ask(request)
            keep_reply(self.endpoint.cache, name, reply, self.endpoint.model)
            return reply

    def close(self) -> None:
        """Close the connections for good; who still waits for another attempt gives up."""
        self._closed.set()
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ask(self, request: Mapping[str, Any]) -> Reply:
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
            stop=tenacity.stop_after_attempt(self.endpoint.attempts)
            | tenacity.stop_when_event_set(self._closed),
            sleep=tenacity.sleep_using_event(self._closed),
            retry=tenacity.retry_if_exception_type(_Passing),
            wait=wait,
            reraise=True,
        )
        try:
            return attempts(self._send_in_turn, request)
        except _Passing as error:
            raise ChatError(f"{error}, after {self.endpoint.attempts} attempts") from error

    def _send_in_turn(self, request: Mapping[str, Any]) -> Reply:
        """Send one request when the limits allow it."""
        if self._closed.is_set():
            raise ChatError(_CLOSED)
        set_aside = self._pace.await_turn(int(request.get("max_tokens") or 0))
        with self._lock:
            self.sent += 1
        spent: int | None = 0
        try:
            reply = self._send(request)
            spent = reply.tokens
            return reply
        except _Passing as error:
            # who asks for patience means all who ask, not only the one that heard it
            self._pace.hold(min(LONGEST_WAIT_S, error.wait_s))
            raise
        finally:
            self._pace.settle(set_aside, spent)

    def _send(self, request: Mapping[str, Any]) -> Reply:
        """Send one request and read its reply."""
        import httpx

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
        except RuntimeError as error:
            if self._closed.is_set():
                # httpx says so of a client that was closed between two of its steps
                raise ChatError(_CLOSED) from error
            raise
        except httpx.HTTPError as error:
            raise ChatError(f"the request failed ({type(error).__name__})") from error
        if response.status_code != 200:
            self._refuse(response, bytes(body))
        try:
            return read_reply(bytes(body))
        except ValueError as error:
            raise _Passing(str(error)) from error

    def _refuse(self, response: httpx.Response, body: bytes) -> None:
        shown = body.decode(errors="replace")
        if self.endpoint.key:
            shown = shown.replace(self.endpoint.key, "***")
        shown = " ".join(shown[:200].split())
        message = f"the server said {response.status_code}: {shown or 'nothing more'}"
        if response.status_code in _AGAIN:
            raise _Passing(message, wait_s=_seconds(response.headers.get("retry-after", "")))
        raise ChatError(message, response.status_code)

    def _connected(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._client is None:
                key = self.endpoint.key
                self._client = httpx.Client(
                    base_url=f"{self.endpoint.base_url.rstrip('/')}/",
                    headers={"Authorization": f"Bearer {key}"} if key else {},
                    timeout=self.endpoint.timeout_s,
                    limits=httpx.Limits(max_connections=None),
                    verify=_certificates(),
                )
            return self._client


@functools.cache
def _certificates() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()


class _Turn:
    """Whose turn it is to ask one question; it lives as long as somebody asks."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def _seconds(retry_after: str) -> float:
    try:
        wait = float(retry_after)
    except ValueError:
        return 0.0
    return wait if 0 < wait < float("inf") else 0.0
