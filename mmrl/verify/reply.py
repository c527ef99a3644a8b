"""What a chat endpoint answers, read from the protocol and kept in the cache."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One answer of a model."""

    text: str
    thought: str = ""
    """The reasoning that some servers give beside the text (`reasoning_content`)."""
    cut: bool = False
    """The model was stopped at `max_tokens`."""
    prompt_tokens: int | None = None
    """As the server counts; None where it does not say."""
    completion_tokens: int | None = None
    cached: bool = False
    """Nothing was sent."""

    @property
    def tokens(self) -> int | None:
        """All tokens of the exchange, or None."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens


def read_reply(body: bytes) -> Reply:
    """Read the body of a chat completion.

    Raises:
        ValueError: it is none, or holds no text.
    """
    try:
        found = json.loads(body)
        choice = found["choices"][0]
        message = choice["message"]
        text = message["content"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError("the reply is no chat completion") from error
    if not isinstance(text, str) or not text.strip():
        raise ValueError("the reply holds no text")
    usage = found.get("usage")
    counts = usage if isinstance(usage, Mapping) else {}
    thought = message.get("reasoning_content") or message.get("reasoning")
    return Reply(
        text=text,
        thought=thought if isinstance(thought, str) else "",
        cut=choice.get("finish_reason") == "length",
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
    )


def reply_name(server: str, request: Mapping[str, Any], draw: int) -> str:
    """Return what a reply is kept under: a hash of all that was asked, and of whom."""
    asked = server if draw == 0 else f"{server} draw {draw}"
    content = json.dumps([asked, request], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()


def kept_reply(cache: Path | None, name: str) -> Reply | None:
    """Read a reply from the folder; None where there is no folder, no file, or a torn one."""
    if cache is None:
        return None
    try:
        kept = json.loads(_file(cache, name).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    if not isinstance(kept, dict) or not isinstance(kept.get("reply"), str):
        return None
    counts = kept.get("tokens") or {}
    return Reply(
        text=kept["reply"],
        thought=kept.get("thought", ""),
        cut=kept.get("cut", False),
        prompt_tokens=_count(counts.get("prompt")),
        completion_tokens=_count(counts.get("completion")),
        cached=True,
    )


def keep_reply(cache: Path | None, name: str, reply: Reply, model: str) -> None:
    """Write a reply into the folder, if there is one; it appears as a whole."""
    if cache is None:
        return
    kept: dict[str, Any] = {"model": model, "reply": reply.text}
    kept |= {"thought": reply.thought} if reply.thought else {}
    kept |= {"cut": True} if reply.cut else {}
    counts = {"prompt": reply.prompt_tokens, "completion": reply.completion_tokens}
    kept |= {"tokens": counts} if reply.tokens is not None else {}
    file = _file(cache, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False, mode="w") as part:
        json.dump(kept, part)
    os.replace(part.name, file)


def _file(cache: Path, name: str) -> Path:
    return cache / name[:2] / f"{name}.json"


def _count(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if whole else None
