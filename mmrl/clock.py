"""The clock of a training step: where its seconds went, and which share of them was idle.

The model works while it samples and while it learns; all else is waiting: for prompts, for
verdicts, for other processes, for an engine that takes over weights.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from mmrl.distributed.ranks import ALONE, Ranks

WORKING = ("sample_s", "update_s")
"""Phases in which the model works, but for the time that it waits for other processes."""


@dataclass(kw_only=True, slots=True)
class Clock:
    """Seconds of the phases of a step, from its making on."""

    ranks: Ranks = field(default_factory=lambda: ALONE)
    _began: float = field(default_factory=time.perf_counter)
    _last: float = field(init=False)
    _waited: float = field(init=False)
    _worked: float = 0.0
    _laps: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._last, self._waited = self._began, self.ranks.waited_s

    def lap(self, name: str) -> None:
        """Book the time since the last lap under a name."""
        now, waited = time.perf_counter(), self.ranks.waited_s
        self._laps[name] = self._laps.get(name, 0.0) + now - self._last
        if name in WORKING:
            self._worked += now - self._last - (waited - self._waited)
        self._last, self._waited = now, waited

    def note(self, name: str, seconds: float) -> None:
        """Write down what took time beside the step, in another thread."""
        self._laps[name] = seconds

    def seconds(self) -> dict[str, float]:
        """All laps, `step_s` from the start until now, and `idle_frac`, the share of that in which
        the model neither sampled nor learned.
        """
        step_s = time.perf_counter() - self._began
        idle = max(0.0, 1.0 - self._worked / step_s)
        return self._laps | {"step_s": step_s, "idle_frac": idle}
