"""Threads that do not keep the process from ending, whatever they are at: those of an executor are
waited for, and a verifier may never return.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Found = TypeVar("Found")


class Threads:
    """Up to `count` threads, each doing one thing after the other; they start when they are
    needed.
    """

    def __init__(self, count: int, *, name: str) -> None:
        """Start nothing yet."""
        self._count, self._name = count, name
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(
        self, act: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs
    ) -> Future[Found]:
        """Have something done, behind what was submitted before."""
        task = _Task(act=partial(act, *args, **kwargs), future=Future())
        self._tasks.put(task)
        if len(self._threads) < self._count:
            thread = threading.Thread(
                target=_work, args=(self._tasks,), name=self._name, daemon=True
            )
            self._threads.append(thread)
            thread.start()
        return task.future

    def end(self, patience_s: float | None = None) -> None:
        """Cancel what has not begun, and wait for the rest: so many seconds at most, or as long as
        it takes. What is not done by then is left to itself.
        """
        with contextlib.suppress(Empty):
            while (task := self._tasks.get_nowait()) is not None:
                task.future.cancel()
        for _ in self._threads:
            self._tasks.put(None)
        deadline = None if patience_s is None else monotonic() + patience_s
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - monotonic()))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Task:
    act: Callable[[], Any]
    future: Future[Any]


def _work(tasks: SimpleQueue[_Task | None]) -> None:
    while (task := tasks.get()) is not None:
        if not task.future.set_running_or_notify_cancel():
            continue
        try:
            found = task.act()
        except BaseException as error:  # for whoever asks for the result
            task.future.set_exception(error)
        else:
            task.future.set_result(found)
