"""The models that write chains: any OpenAI-compatible server, or a local engine.

What was answered once is kept by its content and never asked again. A local model gives the same
answer to the same question and draw, so both kinds of teacher can be stopped anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mmrl.coldstart.config import TeacherConfig
from mmrl.coldstart.texts import THINK, UNTHINK
from mmrl.config.schema import NOT_SHAPING
from mmrl.errors import ConfigError
from mmrl.media.encoded import Format, check_encoded, read_encoded
from mmrl.types import Medium, Row
from mmrl.verify.chat import Chat, Endpoint
from mmrl.verify.reply import Reply, keep_reply, kept_reply, reply_name

Messages = Sequence[Mapping[str, Any]]
"""Chat messages as a row's prompt has them: parts with media as handles."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How a reply is drawn."""

    max_tokens: int = 1024
    temperature: float = 0.0
    """0 takes the likeliest token every time."""
    top_p: float = 1.0
    stop: tuple[str, ...] = ()

    def as_request(self) -> dict[str, Any]:
        """Return the fields of a request; what stands at its default is left to the server."""
        fields: dict[str, Any] = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        fields |= {} if self.top_p == 1.0 else {"top_p": self.top_p}
        return fields | ({"stop": list(self.stop)} if self.stop else {})


class Teacher(Protocol):
    """Answers questions; safe to use from many threads."""

    def ask(self, messages: Messages, sampling: Sampling, *, draw: int, row_id: str) -> Reply:
        """Return a reply; several draws of one question are independent."""
        ...

    def close(self) -> None:
        """Let go of connections or weights."""
        ...


def build_teacher(config: TeacherConfig, cache: Path | None, name: str) -> Teacher:
    """Return the teacher that the configuration describes; nothing is sent or loaded yet.

    Raises:
        ConfigError: the address is none, or the key's environment variable is not set.
    """
    if config.local is not None:
        return LocalTeacher(config, cache)
    if config.key_env is not None and not os.environ.get(config.key_env):
        raise ConfigError(
            f"teachers.{name}.key_env: the environment variable {config.key_env} is not set"
        )
    assert config.base_url is not None  # the schema sees to both
    assert config.model is not None
    try:
        endpoint = Endpoint(
            base_url=config.base_url,
            model=config.model,
            key=os.environ.get(config.key_env) if config.key_env else None,
            timeout_s=config.timeout_s,
            attempts=config.attempts,
            first_wait_s=config.first_wait_s,
            per_minute=config.per_minute,
            tokens_per_minute=config.tokens_per_minute,
            known_as=f"teacher {config.model}",
            cache=cache,
        )
    except ValueError as error:
        raise ConfigError(f"teachers.{name}: {error}") from error
    return ServerTeacher(config, Chat(endpoint))


class ServerTeacher:
    """Asks a server that speaks OpenAI's chat protocol."""

    def __init__(self, config: TeacherConfig, chat: Chat) -> None:
        """Remember whom to ask."""
        self._config, self._chat = config, chat

    def ask(self, messages: Messages, sampling: Sampling, *, draw: int, row_id: str) -> Reply:
        """Return a reply.

        Raises:
            ChatError: no attempt brought one.
            DataError: a medium of the row cannot be sent.
        """
        fields = sampling.as_request() | self._config.request
        if self._config.seed is not None:
            fields["seed"] = self._config.seed + draw
        return self._chat.ask(as_protocol(messages, self._config, row_id), draw=draw, **fields)

    def close(self) -> None:
        """Close the connections."""
        self._chat.close()


class LocalTeacher:
    """Answers with a model in this process, one question at a time."""

    def __init__(self, config: TeacherConfig, cache: Path | None) -> None:
        """Remember what to load when the first question comes that was not answered before."""
        self._config, self._cache = config, cache
        self._lock = threading.Lock()
        self._prompts: Any = None

    def ask(self, messages: Messages, sampling: Sampling, *, draw: int, row_id: str) -> Reply:
        """Return a reply.

        Raises:
            DataError: the model cannot be shown one of the media.
        """
        assert self._config.local is not None
        asked = {
            "messages": as_protocol(messages, self._config, row_id),
            "media": self._config.media.model_dump(mode="json", exclude=NOT_SHAPING),
            **sampling.as_request(),
        }
        model = self._config.local.model_dump_json()
        name = reply_name(f"local {model}", asked, draw)
        known = kept_reply(self._cache, name)
        if known is not None:
            return known
        with self._lock:
            reply = self._sample(messages, sampling, seed=int(name[:15], 16), row_id=row_id)
        keep_reply(self._cache, name, reply, model)
        return reply

    def close(self) -> None:
        """Let the weights go."""
        self._prompts = None

    def _sample(self, messages: Messages, sampling: Sampling, *, seed: int, row_id: str) -> Reply:
        from mmrl.config.schema import RolloutConfig
        from mmrl.engines.hf import sample

        prompts = self._loaded()
        content = json.dumps(as_protocol(messages, self._config, row_id), sort_keys=True)
        place = hashlib.blake2b(content.encode(), digest_size=12).hexdigest()
        row = Row(id=row_id, source="teacher", prompt=messages, answer="", verifier=(), where=place)
        prompt = prompts(row)
        config = RolloutConfig(
            max_new_tokens=sampling.max_tokens,
            temperature=sampling.temperature or 1.0,
            top_p=sampling.top_p,
        )
        greedy = sampling.temperature == 0
        [[completion]] = sample(
            prompts.policy, [prompt], config, group_size=1, seed=seed, greedy=greedy
        )
        text, stopped = _until(completion.text, sampling.stop)
        return Reply(
            text=text,
            cut=completion.stop == "length" and not stopped,
            prompt_tokens=len(prompt.ids),
            completion_tokens=len(completion.ids),
        )

    def _loaded(self) -> Any:
        if self._prompts is None:
            from mmrl.model import load_policy
            from mmrl.prompt import Prompts

            assert self._config.local is not None
            policy = load_policy(self._config.local, seed=self._config.seed or 0)
            self._prompts = Prompts(policy=policy, media=self._config.media)
        return self._prompts


def full_text(reply: Reply) -> str:
    """Return the text with the reasoning before it that some servers give beside it."""
    if not reply.thought or UNTHINK in reply.text:
        return reply.text
    return f"{THINK}{reply.thought.strip()}{UNTHINK}\n{reply.text}"


def as_protocol(messages: Messages, config: TeacherConfig, row_id: str) -> list[dict[str, Any]]:
    """Return the messages as the protocol has them, media as data URLs.

    Raises:
        DataError: a medium is missing, too large, or not of its kind.
    """
    return [
        {"role": message["role"], "content": _content(message["content"], config, row_id)}
        for message in messages
    ]


def _content(parts: Sequence[Mapping[str, Any]], config: TeacherConfig, row_id: str) -> Any:
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return [
        dict(part) if part["type"] == "text" else _medium(part[part["type"]], config, row_id)
        for part in parts
    ]


def _medium(medium: Medium, config: TeacherConfig, row_id: str) -> dict[str, Any]:
    found = check_encoded(medium, config.media, row_id)
    data = base64.b64encode(read_encoded(medium, row_id)).decode()
    if medium.kind == "audio":
        return {
            "type": "input_audio",
            "input_audio": {"data": data, "format": found.name.lower()},
        }
    key = f"{medium.kind}_url"
    return {"type": key, key: {"url": f"data:{_mime(medium, found)};base64,{data}"}}


def _mime(medium: Medium, found: Format) -> str:
    names = {"mov": "mp4", "matroska": "webm", "avi": "x-msvideo", "mpegts": "mp2t"}
    return f"{medium.kind}/{names.get(found.name, found.name.lower())}"


def _until(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Cut the text at the first stop, and tell whether there was one."""
    ends = [text.index(word) for word in stop if word in text]
    return (text[: min(ends)], True) if ends else (text, False)
