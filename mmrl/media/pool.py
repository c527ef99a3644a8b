"""Worker processes that decode media and run the processor beside the training process.

A row goes to a worker as a pickle of ours; what comes of untrusted media returns as JSON, and as
bytes in memory that both processes share, so that nothing which a decoder was tricked into writing
is unpickled. A worker ends when its parent does, however that ends, and a row that ends a worker is
named.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import signal
import tempfile
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import IO, Any

import torch
from torch import Tensor

from mmrl.children import Child, describe_end, start
from mmrl.errors import ConfigError, DataError
from mmrl.media.encoded import medium_error
from mmrl.recipe import Processed, Recipe
from mmrl.types import Row

_CLOSED = "the pool of media workers is closed"
_ERRORS = {error.__name__: error for error in (ConfigError, DataError)}


class Pool:
    """Up to `count` workers, each with a thread that feeds it; they start when rows come."""

    def __init__(self, count: int) -> None:
        """Start nothing yet."""
        self._state = _State(count=count)
        self._packed: tuple[Recipe, bytes] | None = None
        weakref.finalize(self, _end, self._state, os.getpid())

    def submit(self, recipe: Recipe, row: Row) -> Future[Processed]:
        """Have a row made by a recipe. Its errors are those of `Maker`, and a DataError where the
        row ends the worker.

        Raises:
            ConfigError: the processor cannot be handed to another process.
        """
        if self._packed is None or self._packed[0] != recipe:
            self._packed = recipe, _pack(recipe)
        task = _Task(row=_bare(row), recipe=self._packed[1])
        state = self._state
        with state.lock:
            if state.closed:
                raise RuntimeError(_CLOSED)
            state.unfinished += 1
            starts = state.threads < min(state.count, state.unfinished)
            state.threads += starts
        state.tasks.put(task)
        if starts:
            threading.Thread(target=_feed, args=(state,), daemon=True, name="decoding").start()
        return task.future

    def processes(self) -> list[int]:
        """The ids of the worker processes."""
        with self._state.lock:
            return [worker.child.process.pid for worker in self._state.workers]

    def close(self) -> None:
        """End the workers, also amid a row; what was under way is given up."""
        _end(self._state, os.getpid())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Task:
    row: Row
    recipe: bytes
    future: Future[Processed] = field(default_factory=Future)


@dataclass(kw_only=True, slots=True, eq=False)
class _Worker:
    child: Child
    memory: IO[bytes]
    """Where the worker leaves tensors."""
    recipe: bytes = b""
    """What it was told to make rows by."""


@dataclass(kw_only=True, slots=True, eq=False)
class _State:
    """What the threads know; not the pool itself, which ends them when nobody has it any more."""

    count: int
    tasks: SimpleQueue[_Task | None] = field(default_factory=SimpleQueue)
    workers: list[_Worker] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    threads: int = 0
    unfinished: int = 0
    closed: bool = False


class _Died(Exception):
    """The worker ended amid a row: before it looked at it, or at one of its media, or elsewhere."""

    def __init__(self, code: int, *, begun: bool, place: int | None) -> None:
        super().__init__(code)
        self.code, self.begun, self.place = code, begun, place


def _bare(row: Row) -> Row:
    """The row without what shapes no tensor."""
    return dataclasses.replace(row, answer=None, verifier=(), reward={}, response=None, extra={})


def _pack(recipe: Recipe) -> bytes:
    try:
        return pickle.dumps(recipe)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"media.workers: the processor ({type(recipe.processor).__name__}) cannot be handed to "
            f"another process ({error}); set media.workers=0"
        ) from error


def _feed(state: _State) -> None:
    """Give rows to a worker, one after the other, until the pool is closed."""
    worker: _Worker | None = None
    while (task := state.tasks.get()) is not None:
        if task.future.set_running_or_notify_cancel():
            try:
                worker = worker if worker in state.workers else None
                worker, made = _make(state, worker, task)
            except BaseException as error:  # for whoever asks for the row
                task.future.set_exception(error)
            else:
                task.future.set_result(made)
        with state.lock:
            state.unfinished -= 1


def _make(state: _State, worker: _Worker | None, task: _Task) -> tuple[_Worker, Processed]:
    if worker is not None:
        try:
            return worker, _ask(state, worker, task)
        except _Died as death:
            if death.begun:
                raise _obituary(task.row, death) from None
    # it ended while it had nothing to do, which is no fault of the row
    worker = _start(state)
    try:
        return worker, _ask(state, worker, task)
    except _Died as death:
        raise _obituary(task.row, death) from None


def _ask(state: _State, worker: _Worker, task: _Task) -> Processed:
    begun, place = False, None
    message = pickle.dumps((task.recipe if worker.recipe is not task.recipe else None, task.row))
    worker.child.tell(message)
    while (body := worker.child.hear()) is not None:
        answer = json.loads(body)
        if "at" in answer:
            begun, place, worker.recipe = True, answer["at"], task.recipe
        elif "error" in answer:
            raise _ERRORS[answer["error"]](answer["text"])
        elif "failed" in answer:
            raise RuntimeError(f"row {task.row.id}: a worker failed\n{answer['failed']}")
        else:
            return _read(worker.memory, answer)
    raise _Died(_drop(state, worker), begun=begun, place=place)


def _obituary(row: Row, death: _Died) -> ConfigError | DataError:
    """One line on what a worker's end means."""
    cause = describe_end(death.code)
    if -death.code == signal.SIGKILL:
        cause += ": the machine may be out of memory"
    if not death.begun:
        return ConfigError(
            f"media.workers: a worker process ended before its first row ({cause}); what it said "
            "stands above; set media.workers=0 to decode in the training process"
        )
    if death.place is None:
        return DataError(
            f"row {row.id}: the worker process that ran the processor on its media ended "
            f"({cause}); remove the row"
        )
    problem = f"the worker process that looked at it ended ({cause})"
    return medium_error(row.media[death.place], row.id, problem)


def _read(memory: IO[bytes], answer: Mapping[str, Any]) -> Processed:
    """Take over what the worker has left, and give its memory back."""
    tensors, offset = {}, 0
    for name, dtype, shape in answer["tensors"]:
        tensor = tensors[name] = torch.empty(shape, dtype=getattr(torch, dtype))
        view = as_bytes(tensor)
        while len(view):
            count = os.preadv(memory.fileno(), [view], offset)
            if not count:
                raise EOFError(f"a worker left {offset} bytes, too few for {name}")
            view, offset = view[count:], offset + count
    os.ftruncate(memory.fileno(), 0)
    return Processed(tensors=tensors, warnings=tuple(answer["warnings"]), **answer["facts"])


def _start(state: _State) -> _Worker:
    memory = _shared_memory()
    with state.lock:
        if state.closed:
            raise RuntimeError(_CLOSED)
        child = start(
            "mmrl.media.pool_worker",
            files=(memory.fileno(),),
            # no worker may take a GPU's memory
            env={"CUDA_VISIBLE_DEVICES": ""},
        )
        worker = _Worker(child=child, memory=memory)
        state.workers.append(worker)
    return worker


def _shared_memory() -> IO[bytes]:
    """Memory that has a file's number and no name; /dev/shm is often too small in containers."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("mmrl-media"), "r+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _drop(state: _State, worker: _Worker) -> int:
    with state.lock:
        if worker in state.workers:
            state.workers.remove(worker)
    return _kill(worker)


def _kill(worker: _Worker) -> int:
    """Kill a worker, unless it has ended, and return how it did."""
    code = worker.child.end()
    worker.memory.close()
    return code


def _end(state: _State, pid: int) -> None:
    """End all workers, unless they belong to another process, of which this is a fork."""
    if pid != os.getpid():
        return
    with state.lock:
        state.closed = True
        workers, state.workers = state.workers, []
    with contextlib.suppress(Empty):
        while (task := state.tasks.get_nowait()) is not None:
            task.future.cancel()
    for _ in range(state.threads):
        state.tasks.put(None)
    for worker in workers:
        _kill(worker)


def as_bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor."""
    flat: Any = tensor.flatten().view(torch.uint8).numpy()
    return memoryview(flat)
