"""Judge in processes that can be killed: for verifiers that may hang, explode or crash.

Workers are started once and kept warm. A judgement that passes its wall time costs its worker, not
its neighbours: the worker is killed and replaced and the sample is a `timeout`. Workers are plain
subprocesses with JSON over pipes, so the pool works under threads, torchrun and in a DataLoader
worker, and nothing from outside is unpickled.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

from mmrl.children import Child, describe_end, start
from mmrl.errors import RewardError
from mmrl.reward import find_verifier
from mmrl.types import Row, Sample, Verdict

START_S = 120.0
"""A worker that has not said that it is ready after so many seconds cannot be started."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One judgement: a verifier, its parameters, and one sample, or all siblings for a group
    term.
    """

    name: str
    params: Mapping[str, Any]
    samples: Sequence[Sample]


@dataclass(kw_only=True, slots=True, eq=False)
class _Worker:
    child: Child
    job: int | None = None
    deadline: float = 0.0


class Pool:
    """Worker processes with limits of wall time and memory per judgement."""

    def __init__(
        self, *, timeout_s: float = 10.0, memory_mb: int = 2048, processes: int | None = None
    ) -> None:
        """Start nothing yet.

        Args:
            timeout_s: Wall time of one judgement.
            memory_mb: Memory that a worker may take on top of what it has when it is warm.
            processes: Workers; by default this process's share of the cores, at most 8.
        """
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._processes = processes or _share_of_cores()
        self._names: set[str] = set()
        self._cancelled = False
        self._reset()

    def add(self, name: str) -> None:
        """Have new workers warm up for a verifier before their first judgement."""
        self._names.add(name)

    def judge(self, jobs: Sequence[Job]) -> list[list[Verdict]]:
        """Return the verdicts of every job, in order: one per sample of the job.

        Raises:
            RewardError: a worker cannot be started.
            CancelledError: the pool was cancelled, from another thread.
        """
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            try:
                return self._run(jobs)
            except BaseException:
                self._kill_all()
                if self._cancelled:
                    raise CancelledError from None
                raise

    def cancel(self) -> None:
        """End what another thread has judged here, now and for good: its call raises."""
        self._cancelled = True
        if self._pid == os.getpid():
            # the other thread reaps them
            for worker in [*self._workers]:
                worker.child.stop()

    def close(self) -> None:
        """End all workers."""
        if self._pid == os.getpid():
            with self._lock:
                self._kill_all()

    def _reset(self) -> None:
        """Own no worker: at first, and in a forked child, whose inherited workers are its
        parent's.
        """
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        weakref.finalize(self, _end, self._workers, self._pid)

    def _kill_all(self) -> None:
        _end(self._workers, os.getpid())

    def _run(self, jobs: Sequence[Job]) -> list[list[Verdict]]:
        done: list[list[Verdict] | None] = [None] * len(jobs)
        waiting = deque(range(len(jobs)))
        while waiting or any(worker.job is not None for worker in self._workers):
            self._give(jobs, waiting, done)
            for worker in self._ready():
                index = worker.job
                if index is not None:
                    done[index] = self._take(worker, len(jobs[index].samples))
        return [verdicts for verdicts in done if verdicts is not None]

    def _give(
        self, jobs: Sequence[Job], waiting: deque[int], done: list[list[Verdict] | None]
    ) -> None:
        """Hand waiting jobs to idle workers, starting as many as are needed and allowed."""
        idle = [worker for worker in self._workers if worker.job is None]
        wanted = min(len(waiting) - len(idle), self._processes - len(self._workers))
        idle += self._start(max(0, wanted))
        if self._cancelled:
            raise CancelledError
        for worker in idle:
            if not waiting:
                return
            index = waiting.popleft()
            try:
                message = json.dumps(_message(jobs[index])).encode()
            except (TypeError, ValueError) as error:
                detail = f"{jobs[index].name}: cannot be sent to a worker: {error}"
                done[index] = _all(jobs[index], "error", detail)
                continue
            worker.job, worker.deadline = index, time.monotonic() + self._timeout_s
            worker.child.tell(message)

    def _ready(self) -> list[_Worker]:
        """Return the busy workers that have answered, died, or run out of time; wait for the
        first.
        """
        busy = [worker for worker in self._workers if worker.job is not None]
        if not busy:
            return []
        wait = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                selector.register(worker.child.answers, selectors.EVENT_READ, worker)
            ready = [key.data for key, _ in selector.select(wait)]
        now = time.monotonic()
        return ready or [worker for worker in busy if worker.deadline <= now]

    def _take(self, worker: _Worker, count: int) -> list[Verdict]:
        """Return what the worker has found; without an answer it is killed and left out."""
        late = worker.deadline <= time.monotonic()
        answer = None if late and not worker.child.has_said(0.0) else _hear(worker)
        worker.job = None
        if answer is not None:
            if answer.get("ends"):
                self._drop(worker)
            return [Verdict(**verdict) for verdict in answer["verdicts"]]
        code = self._drop(worker)
        if late or code == -signal.SIGALRM:
            verdict = Verdict(
                score=None, status="timeout", detail=f"not judged within {self._timeout_s:g} s"
            )
        else:
            verdict = Verdict(
                score=None, status="error", detail=f"the worker died ({describe_end(code)})"
            )
        return [verdict] * count

    def _drop(self, worker: _Worker) -> int:
        self._workers.remove(worker)
        return worker.child.end()

    def _start(self, count: int) -> list[_Worker]:
        """Start workers side by side and wait until all are warm."""
        started = [self._spawn() for _ in range(count)]
        self._workers += started
        deadline = time.monotonic() + START_S
        for worker in started:
            said = worker.child.has_said(max(0.0, deadline - time.monotonic()))
            answer = _hear(worker) if said else None
            if answer is None or "error" in answer:
                cause = answer["error"] if answer else describe_end(self._drop(worker))
                raise RewardError(f"a worker for isolated verifiers cannot be started: {cause}")
        return started

    def _spawn(self) -> _Worker:
        worker = _Worker(child=start("mmrl.judging.isolation_worker", env={}, quiet=True))
        files = {name: str(find_verifier(name).file) for name in sorted(self._names)}
        limits = {"timeout_s": self._timeout_s, "memory_mb": self._memory_mb}
        worker.child.tell(json.dumps({"files": files, **limits}).encode())
        return worker


def _share_of_cores() -> int:
    """Return the cores that this process may use, divided by the training processes beside it."""
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    siblings = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(8, cores // max(1, siblings)))


def _message(job: Job) -> dict[str, Any]:
    return {
        "name": job.name,
        "file": str(find_verifier(job.name).file),
        "params": job.params,
        "samples": [_plain_sample(sample) for sample in job.samples],
    }


def _plain_sample(sample: Sample) -> dict[str, Any]:
    names = ("text", "answer", "progress", "length", "stop", "accuracy")
    return {**{name: getattr(sample, name) for name in names}, "row": _plain_row(sample.row)}


def _plain_row(row: Row) -> dict[str, Any]:
    """Return the row without media and verifiers, which no verifier reads."""
    prompt = [
        {
            "role": turn["role"],
            "content": [part for part in turn["content"] if part["type"] == "text"],
        }
        for turn in row.prompt
    ]
    names = ("id", "source", "answer", "difficulty", "response", "where")
    plain = {name: getattr(row, name) for name in names}
    return {**plain, "prompt": prompt, "extra": dict(row.extra)}


def _hear(worker: _Worker) -> dict[str, Any] | None:
    body = worker.child.hear()
    return None if body is None else json.loads(body)


def _all(job: Job, status: Any, detail: str) -> list[Verdict]:
    return [Verdict(score=None, status=status, detail=detail)] * len(job.samples)


def _end(workers: list[_Worker], pid: int) -> None:
    """Kill the workers, unless they belong to another process, of which this is a fork."""
    if pid == os.getpid():
        while workers:
            workers.pop().child.end()
