"""Keep drawing until the batch is full of groups that teach (DAPO's dynamic sampling).

`spread`  a group whose siblings all score the same teaches nothing     DAPO, arXiv 2503.14476
`band`    nor does one that is nearly always right, or wrong            arXiv 2504.03380

Each draw asks for as many groups as are missing. What is still missing after `max_draws` is filled
up with groups that were drawn and not kept; their advantages are set to 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmrl.advantage import spread
from mmrl.config.sampling import AnyFilter, AnyWeight, BandFilter, NoFilter
from mmrl.curriculum.contract import GroupResult, as_result
from mmrl.curriculum.weights import weigh_groups
from mmrl.difficulty import in_window
from mmrl.seeds import derive
from mmrl.types import Rollout


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The rollouts of one row."""

    place: int
    """Number of the row among the stage's rows."""
    rollouts_G: Sequence[Rollout]
    kept: bool
    spent: Sequence[Rollout] = ()
    """What was sampled on the way, and nothing is learned from."""


@dataclass(kw_only=True, slots=True)
class Draws:
    """The groups of a step while they are drawn."""

    config: AnyFilter
    wanted: int
    """Groups that the step trains on."""
    count: int = 0
    """Draws so far."""
    groups: list[Group] = field(default_factory=list)
    """All that were drawn, in order."""

    @property
    def missing(self) -> int:
        """Groups to draw next; 0 when the batch is full or there were enough draws."""
        most = 1 if isinstance(self.config, NoFilter) else self.config.max_draws
        return 0 if self.count >= most else self.wanted - len(self._kept())

    def seed(self, step_seed: int) -> int:
        """The sampling seed of the next draw."""
        return step_seed if self.count == 0 else derive(step_seed, "draw", self.count)

    def add(self, places: Sequence[int], rollouts_PG: Sequence[Sequence[Rollout]]) -> None:
        """Take in what was drawn."""
        self.count += 1
        for place, everything in zip(places, rollouts_PG, strict=True):
            rollouts_G = [rollout for rollout in everything if not rollout.spent]
            spent = [rollout for rollout in everything if rollout.spent]
            kept = teaches(rollouts_G, self.config)
            self.groups.append(Group(place=place, rollouts_G=rollouts_G, kept=kept, spent=spent))

    @property
    def batch_PG(self) -> list[Sequence[Rollout]]:
        """The groups to train on: those that were kept, then what fills the batch up."""
        return [group.rollouts_G for group in [*self._kept(), *self._filling()]]

    @property
    def drawn_PG(self) -> list[Sequence[Rollout]]:
        """All groups that were drawn."""
        return [group.rollouts_G for group in self.groups]

    @property
    def everything_PG(self) -> list[list[Rollout]]:
        """All groups that were drawn, each with what was sampled on the way."""
        return [[*group.rollouts_G, *group.spent] for group in self.groups]

    @property
    def rollouts(self) -> list[Rollout]:
        """All rollouts that were drawn."""
        return [rollout for rollouts_G in self.everything_PG for rollout in rollouts_G]

    def weigh(self, config: AnyWeight) -> dict[str, float]:
        """Weigh the advantages of the groups that were kept and take those of the others; return
        what the step's metrics say of filter and weights.
        """
        for group in self._filling():
            for rollout in group.rollouts_G:
                rollout.advantage = 0.0
        kept_PG = [group.rollouts_G for group in self._kept()]
        return self.metrics() | weigh_groups(kept_PG, config)

    def results(self) -> list[GroupResult]:
        """What the sampler hears, of all groups that were drawn."""
        return [as_result(group.place, group.rollouts_G, kept=group.kept) for group in self.groups]

    def metrics(self) -> dict[str, float]:
        """Groups drawn and kept, and in how many draws; none where nothing is filtered."""
        if isinstance(self.config, NoFilter):
            return {}
        return {
            "filter/drawn": float(len(self.groups)),
            "filter/kept": float(len(self._kept())),
            "filter/draws": float(self.count),
        }

    def _kept(self) -> list[Group]:
        return [group for group in self.groups if group.kept]

    def _filling(self) -> list[Group]:
        passed = [group for group in self.groups if not group.kept]
        return passed[: self.wanted - len(self._kept())]


def teaches(rollouts_G: Sequence[Rollout], config: AnyFilter) -> bool:
    """Whether a filter keeps a group."""
    if isinstance(config, NoFilter):
        return True
    if isinstance(config, BandFilter):
        accuracy = as_result(0, rollouts_G).accuracy
        return accuracy is not None and in_window(accuracy, (config.low, config.high))
    return spread([rollout.verdict.score for rollout in rollouts_G]) > 0
