"""The judges of a run, built once per verifier and parameters, and called with many samples at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmrl.reward import build_group_reward, build_verifier, find_verifier
from mmrl.types import Sample, Verdict, VerifierTerm

JudgeGroups = Callable[[Sequence[Sequence[Sample]]], list[list[Verdict]]]


class Panel:
    """Judges by verifier; those that can hang share one pool of killable processes."""

    def __init__(self, *, timeout_s: float = 10.0, memory_mb: int = 2048) -> None:
        """Remember the limits of one judgement in the pool; the pool starts when it is first needed."""
        self._limits = {"timeout_s": timeout_s, "memory_mb": memory_mb}
        self._judges: dict[str, JudgeGroups] = {}

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

    def close(self) -> None:
        """End the worker processes, if there are any."""

    def _build(self, term: VerifierTerm) -> JudgeGroups:
        if find_verifier(term.name).group:
            together = build_group_reward(term.name, term.params)
            return lambda groups: [together(group) for group in groups]
        one = build_verifier(term.name, term.params)
        return lambda groups: [[one(sample) for sample in group] for group in groups]


def term_key(term: VerifierTerm) -> str:
    """Return what tells one verifier with its parameters from another; the weight does not count."""
    return f"{term.name} {json.dumps(_plain(term.params), sort_keys=True, default=str)}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return value
