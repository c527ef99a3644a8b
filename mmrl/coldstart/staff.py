"""The teachers of a run: one door to all of them, which counts tokens and money, and closes when
asking more is of no use.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.coldstart.config import ChainConfig, TeacherConfig
from mmrl.coldstart.teachers import Messages, Sampling, Teacher, build_teacher
from mmrl.errors import RunError
from mmrl.verify.chat import ChatError
from mmrl.verify.reply import Reply

_HOPELESS = {
    401: "refuses the key",
    402: "wants to be paid",
    403: "refuses access",
    404: "has no such model",
}
"""Refusals that every other request would get as well."""


@dataclass(kw_only=True, slots=True)
class Count:
    """What one teacher's replies took; those from the cache are counted beside those just made."""

    replies: int = 0
    asked: int = 0
    """Replies that were not in the cache."""
    failed: int = 0
    """Requests that got no reply after the last attempt."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    """Replies of which the server did not say what they took."""
    cost: float = 0.0
    """Of all replies."""
    spent: float = 0.0
    """Of those just made."""

    def add(self, reply: Reply, config: TeacherConfig) -> None:
        """Count one reply."""
        self.replies += 1
        self.asked += not reply.cached
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            self.uncounted += 1
            return
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        price = config.price
        cost = reply.prompt_tokens * price.input + reply.completion_tokens * price.output
        self.cost += cost / 1e6
        self.spent += 0.0 if reply.cached else cost / 1e6


class Staff:
    """Asks teachers by name, from many threads."""

    def __init__(self, config: ChainConfig, cache: Path | None) -> None:
        """Build the teachers; nothing is sent or loaded.

        Raises:
            ConfigError: a teacher cannot be asked as the configuration says.
        """
        self._config = config
        self._teachers: dict[str, Teacher] = {
            name: build_teacher(teacher, cache, name) for name, teacher in config.teachers.items()
        }
        self.counts = {name: Count() for name in config.teachers}
        self._lock = threading.Lock()
        self._in_vain = 0
        self._replied_at = 0.0

    def ask(
        self, name: str, messages: Messages, sampling: Sampling, *, draw: int, row_id: str
    ) -> Reply:
        """Return a teacher's reply.

        Raises:
            ChatError: there was none; the row is left out, the others go on.
            RunError: nobody can be asked any more.
            DataError: a medium of the row cannot be shown.
        """
        self._check_budget()
        began = time.monotonic()
        try:
            reply = self._teachers[name].ask(messages, sampling, draw=draw, row_id=row_id)
        except ChatError as error:
            self._failed(name, error, began)
            raise
        with self._lock:
            self.counts[name].add(reply, self._config.teachers[name])
            if not reply.cached:
                self._in_vain, self._replied_at = 0, time.monotonic()
        return reply

    def close(self) -> None:
        """Close all teachers."""
        for teacher in self._teachers.values():
            teacher.close()

    def totals(self) -> Mapping[str, float]:
        """Return what is shown while a chain runs, over all teachers."""
        counts = list(self.counts.values())
        fields = ("asked", "failed", "prompt_tokens", "completion_tokens", "cost")
        found: dict[str, Any] = {key: sum(getattr(one, key) for one in counts) for key in fields}
        return found | {"cached": sum(one.replies - one.asked for one in counts)}

    def _check_budget(self) -> None:
        limit = self._config.max_cost
        if limit is None:
            return
        with self._lock:
            spent = sum(count.spent for count in self.counts.values())
        if spent >= limit:
            raise RunError(
                f"max_cost: {spent:.2f} is spent, {limit:g} is allowed; what was answered is kept, "
                "so raise it and give the same command again"
            )

    def _failed(self, name: str, error: ChatError, began: float) -> None:
        with self._lock:
            self.counts[name].failed += 1
            # who was asked before others got their reply says nothing of what is to come
            self._in_vain += began > self._replied_at
            in_vain = self._in_vain
        if error.status in _HOPELESS:
            raise RunError(f"teachers.{name} {_HOPELESS[error.status]}: {error}") from error
        if in_vain >= self._config.stop_after:
            raise RunError(
                f"teachers.{name}: {in_vain} requests in a row (stop_after) got no answer "
                f"({error}); what was answered is kept, so give the same command again when it is "
                "back"
            ) from error
