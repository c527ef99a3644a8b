"""The judges of a run, built once per verifier and parameters, and called with many samples at
a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

from mmrl.judging.isolation import Job, Pool
from mmrl.reward import build_group_reward, build_verifier, check_params, find_verifier
from mmrl.schedule import Schedule
from mmrl.threads import Threads
from mmrl.types import Sample, Verdict, VerifierTerm

JudgeGroups = Callable[[Sequence[Sequence[Sample]]], list[list[Verdict]]]


class Panel:
    """Judges by verifier; those that can hang share one pool of killable processes."""

    def __init__(self, *, timeout_s: float = 10.0, memory_mb: int = 2048) -> None:
        """Remember the limits of one judgement in the pool; the pool starts when it is first
        needed.
        """
        self._pool = Pool(timeout_s=timeout_s, memory_mb=memory_mb)
        self._judges: dict[str, JudgeGroups] = {}
        self._cancelled = False

    def add(self, term: VerifierTerm) -> JudgeGroups:
        """Build the judge of a verifier and its parameters, once.

        Raises:
            RewardError: there is no such verifier, or a parameter does not fit.
        """
        key = term_key(term)
        if key not in self._judges:
            self._judges[key] = self._build(term)
        return self._judges[key]

    def judge(self, term: VerifierTerm, groups: Sequence[Sequence[Sample]]) -> list[list[Verdict]]:
        """Return a verdict for every sample of every group, in the same order."""
        return self.add(term)(groups)

    def cancel(self) -> None:
        """End what another thread has judged here, now and for good: its call raises
        CancelledError.
        """
        self._cancelled = True
        self._pool.cancel()

    def close(self) -> None:
        """End the worker processes, if there are any."""
        self._pool.close()

    def _build(self, term: VerifierTerm) -> JudgeGroups:
        found = find_verifier(term.name)
        if found.isolated:
            check_params(term.name, term.params)
            self._pool.add(term.name)
            return lambda groups: self._isolated(term, groups, together=found.group)
        if found.group:
            together = build_group_reward(term.name, term.params)
            return lambda groups: [together(group) for group in groups]
        one = self._until_cancelled(build_verifier(term.name, term.params))
        if found.threads == 1:
            return lambda groups: [[one(sample) for sample in group] for group in groups]
        return lambda groups: _side_by_side(one, groups, found.threads)

    def _until_cancelled(self, judge: Callable[[Sample], Verdict]) -> Callable[[Sample], Verdict]:
        def one(sample: Sample) -> Verdict:
            if self._cancelled:
                raise CancelledError
            return judge(sample)

        return one

    def _isolated(
        self, term: VerifierTerm, groups: Sequence[Sequence[Sample]], *, together: bool
    ) -> list[list[Verdict]]:
        """Judge in the pool: a group at a time, or sample by sample."""
        params = plain(term.params)
        units = groups if together else [[sample] for group in groups for sample in group]
        jobs = [Job(name=term.name, params=params, samples=unit) for unit in units]
        verdicts = iter([v for found in self._pool.judge(jobs) for v in found])
        return [[next(verdicts) for _ in group] for group in groups]


def _side_by_side(
    judge: Callable[[Sample], Verdict], groups: Sequence[Sequence[Sample]], threads: int
) -> list[list[Verdict]]:
    """Judge in threads, for judges that wait for others."""
    beside = Threads(threads, name="asking")
    try:
        found = [[beside.submit(judge, sample) for sample in group] for group in groups]
        return [[future.result() for future in group] for group in found]
    finally:
        # all are done, or nobody asks for the rest
        beside.end(patience_s=0.0)


def term_key(term: VerifierTerm) -> str:
    """Return what tells one verifier with its parameters from another; the weight does not
    count.
    """
    return f"{term.name} {json.dumps(plain(term.params), sort_keys=True, default=str)}"


def plain(value: Any) -> Any:
    """Return parameters as JSON has them: mappings with text keys, schedules as they were given."""
    if isinstance(value, Schedule):
        return plain(value.given())
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
