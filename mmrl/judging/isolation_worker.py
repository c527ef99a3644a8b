"""The process in which isolated verifiers judge: `python -m mmrl.judging.isolation_worker LIFE_FD
PARENT_PID`.

It is told jobs and answers verdicts, one JSON message each. It ends when its parent does, and in
any case a second after the time limit of a judgement, by a timer that kills it from the
kernel's side.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
from pathlib import Path
from typing import IO, Any

from mmrl.children import attach, receive, send
from mmrl.errors import RewardError
from mmrl.registry import load_file
from mmrl.reward import build_group_reward, build_verifier, find_verifier
from mmrl.types import Row, Sample, Verdict

GRACE_S = 1.0
"""The parent kills at the time limit; the timer only acts when there is no parent to do it."""


def main() -> None:
    """Serve jobs until the parent is gone."""
    source, sink, _ = attach()
    setup = _read(source)
    try:
        for name, file in setup["files"].items():
            _warm(name, file)
        _limit_memory(setup["memory_mb"])
    except (Exception, MemoryError) as error:
        _write(sink, {"error": f"{type(error).__name__}: {error}"})
        return
    _write(sink, {"ready": True})
    while True:
        job = _read(source)
        signal.setitimer(signal.ITIMER_REAL, setup["timeout_s"] + GRACE_S)
        answer = _judge(job)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(sink, answer)


def _warm(name: str, file: str) -> None:
    found = _find(name, file)
    if found.warm is not None:
        found.warm()


def _find(name: str, file: str) -> Any:
    """Return the verifier; one that stands outside the project is loaded from its file."""
    try:
        return find_verifier(name)
    except RewardError:
        load_file(Path(file))
        return find_verifier(name)


def _limit_memory(memory_mb: int) -> None:
    """Limit the address space to what the warm process has, and `memory_mb` more."""
    statm = Path("/proc/self/statm")
    pages = int(statm.read_text().split()[0]) if statm.exists() else 0
    limit = pages * resource.getpagesize() + memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _judge(job: dict[str, Any]) -> dict[str, Any]:
    try:
        verdicts = _verdicts(job)
    except (Exception, MemoryError) as error:
        detail = f"{job['name']}: {type(error).__name__}: {error}"
        verdicts = [Verdict(score=None, status="error", detail=detail)] * len(job["samples"])
    # what else is broken after memory ran out, nobody knows
    ends = any("MemoryError" in verdict.detail for verdict in verdicts)
    return {"verdicts": [dataclasses.asdict(verdict) for verdict in verdicts], "ends": ends}


_JUDGES: dict[str, Any] = {}


def _verdicts(job: dict[str, Any]) -> list[Verdict]:
    key = json.dumps([job["name"], job["params"]], sort_keys=True)
    if key not in _JUDGES:
        build = build_group_reward if _find(job["name"], job["file"]).group else build_verifier
        _JUDGES[key] = build(job["name"], job["params"])
    samples = [_sample(fields) for fields in job["samples"]]
    if find_verifier(job["name"]).group:
        return _JUDGES[key](samples)
    return [_JUDGES[key](sample) for sample in samples]


def _sample(fields: dict[str, Any]) -> Sample:
    return Sample(**{**fields, "row": Row(**fields["row"], verifier=())})


def _read(source: IO[bytes]) -> dict[str, Any]:
    """Return one message; end the process when there will be no more."""
    body = receive(source)
    if body is None:
        os._exit(0)
    return json.loads(body)


def _write(sink: IO[bytes], message: dict[str, Any]) -> None:
    send(sink, json.dumps(message).encode())


if __name__ == "__main__":
    main()
