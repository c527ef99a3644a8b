"""What a stage asks of whatever chooses its rows: take some, hear how their groups did, go on after
a stop.

A sampler is a plain state machine. Its choice depends on its state and on nothing else, so that a
resumed run takes the very rows it would have taken. Where several processes train together, each
holds a copy: all take the same places, work on their own part, and hear the results of all parts,
in the order in which the places were taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

from mmrl.types import Rollout


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupResult:
    """How the completions of one row did; plain numbers, so that processes can exchange them."""

    place: int
    """Number of the row among the stage's rows."""
    source: str
    scores_G: tuple[float | None, ...]
    """By the stage's reward; None where a rollout could not be judged."""
    accuracies_G: tuple[float | None, ...]
    """By the row's own verifiers, 0 to 1."""
    advantages_G: tuple[float, ...]
    lengths_G: tuple[int, ...]
    """Tokens of the completions."""
    kept: bool = True
    """Whether the group is trained on."""

    @property
    def score(self) -> float | None:
        """Mean score of the judged rollouts; None where none was."""
        return _mean(self.scores_G)

    @property
    def accuracy(self) -> float | None:
        """Mean accuracy of the judged rollouts, the pass rate where verifiers say right or wrong;
        None where none was judged.
        """
        return _mean(self.accuracies_G)


class Sampler(Protocol):
    """Chooses the rows of a stage."""

    def take(self, count: int, progress: float = 0.0) -> list[int]:
        """Return the places of the next `count` rows; `progress` is the share of the stage that is
        done, 0 to 1.
        """
        ...

    def observe(self, results: Sequence[GroupResult]) -> None:
        """Hear how rows that were taken did, those of all processes, in their order; where
        completions are sampled a step ahead, the next rows are taken before.
        """
        ...

    def exhausted(self) -> bool:
        """Whether the stage is to end because there are no rows left that it may take."""
        ...

    def metrics(self) -> dict[str, float]:
        """What moves, for the line of metrics of the step."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next choice depends on, as JSON holds it."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            RunError: the state is none of this sampler over these rows.
        """
        ...


def as_result(place: int, rollouts_G: Sequence[Rollout], *, kept: bool = True) -> GroupResult:
    """Return what a sampler hears of a group. What was right with help would have been wrong
    without, and what a teacher wrote says nothing of the policy.
    """
    verdicts_G = [rollout.verdict for rollout in rollouts_G]
    return GroupResult(
        place=place,
        source=rollouts_G[0].prompt.row.source,
        scores_G=tuple(verdict.score for verdict in verdicts_G),
        accuracies_G=tuple(_unaided_accuracy(rollout) for rollout in rollouts_G),
        advantages_G=tuple(rollout.advantage for rollout in rollouts_G),
        lengths_G=tuple(len(rollout.completion.ids) for rollout in rollouts_G),
        kept=kept,
    )


def _unaided_accuracy(rollout: Rollout) -> float | None:
    accuracy = rollout.verdict.parts.get("accuracy")
    if rollout.aid in ("hint", "prefix"):
        return None if accuracy is None else 0.0
    return None if rollout.imitated else accuracy


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
