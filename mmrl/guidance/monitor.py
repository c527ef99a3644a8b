"""Watches how long answers to questions of each difficulty are (LASER-D, arXiv 2505.15612).

The paper answers a set of its own every 20 steps; here it is the training's own groups of the last
20 steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmrl.guidance.traces import is_right
from mmrl.types import Rollout
from mmrl.verify.lengths import Level, level

EVERY = 20
"""Steps after which the lengths that targets go by are those of the steps just made."""


def _empty() -> dict[Level, list[int]]:
    return {"easy": [], "medium": [], "hard": []}


@dataclass(kw_only=True, slots=True)
class Monitor:
    """Tokens of responses by the difficulty of their question."""

    known: dict[Level, list[int]] = field(default_factory=_empty)
    """What targets go by now; empty in the first steps."""
    gathered: dict[Level, list[int]] = field(default_factory=_empty)

    def observe(self, groups: Sequence[Sequence[Rollout]], *, step: int) -> None:
        """Hear of the groups of a step; `step` counts from 1."""
        for rollouts_G in groups:
            own = [r for r in rollouts_G if r.aid is None and r.verdict.score is not None]
            if own:
                found = level(sum(is_right(r, 1.0) for r in own), len(own))
                self.gathered[found] += [len(r.completion.ids) for r in own]
        if step % EVERY == 0:
            self.known, self.gathered = self.gathered, _empty()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"known": dict(self.known), "gathered": dict(self.gathered)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.known = _empty() | dict(state["known"])
        self.gathered = _empty() | dict(state["gathered"])
