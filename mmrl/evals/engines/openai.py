"""Answers from any server that speaks the OpenAI chat protocol: vLLM, SGLang, LMDeploy, a cloud.

Pixels and frames are the server's own, unless `extra=` tells it otherwise; its weights cannot be
read off it, so give them a name with `weights=` where they may change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from mmrl.errors import ConfigError, DataError
from mmrl.evals.engine import Answer, Engine, Request
from mmrl.evals.engines.messages import chat_messages
from mmrl.evals.settings import EvalSettings
from mmrl.verify.chat import Chat, ChatError, Endpoint
from mmrl.verify.reply import Reply

WAITING = 8
"""Requests that wait for each one that is being answered."""


def openai_engine(settings: EvalSettings) -> Engine:
    """Return an engine that asks a server; nothing is sent yet.

    Raises:
        ConfigError: the address is none.
    """
    assert settings.base_url is not None  # the settings see to it
    assert settings.model is not None
    try:
        endpoint = Endpoint(
            base_url=settings.base_url,
            model=settings.model,
            key=os.environ.get(settings.key_env),
            timeout_s=settings.timeout_s,
        )
    except ValueError as error:
        raise ConfigError(f"engine=openai: {error}") from error
    chat = Chat(endpoint)

    def one(request: Request) -> Answer:
        try:
            messages = chat_messages(request.row, request.media, system=settings.system)
            reply = chat.ask(messages, **_sampling(request, settings.extra))
        except (ChatError, DataError) as error:
            return Answer(error=str(error))
        return _answer(reply)

    def answer(requests: Sequence[Request]) -> Iterator[tuple[Request, Answer]]:
        with ThreadPoolExecutor(settings.concurrency) as pool:
            waiting = {pool.submit(one, request): request for request in requests}
            for done in as_completed(waiting):
                yield waiting[done], done.result()

    return Engine(
        name="openai",
        version="chat/completions",
        weights=settings.weights or f"unknown: {settings.model} at {settings.base_url}",
        settings={
            "model": settings.model,
            "extra": settings.extra,
            "system": settings.system,
            "pixels_and_frames": "the server's own",
        },
        answer=answer,
        batch=settings.concurrency * WAITING,
        coordinates=settings.coordinates,
        close=chat.close,
    )


def _sampling(request: Request, extra: Mapping[str, Any]) -> dict[str, Any]:
    decoding = request.decoding
    fields: dict[str, Any] = {
        "max_tokens": decoding.max_new_tokens,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
    }
    if decoding.top_k is not None:
        fields["top_k"] = decoding.top_k
    if decoding.temperature > 0:
        fields["seed"] = request.seed % 2**31
    return fields | dict(extra)


def _answer(reply: Reply) -> Answer:
    # some servers take the thought out of the text; a reader of the log should find it there
    thought = f"<think>{reply.thought}</think>" if reply.thought else ""
    return Answer(
        text=thought + reply.text,
        stop="length" if reply.cut else "eos",
        tokens=reply.completion_tokens,
    )
