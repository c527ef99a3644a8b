"""The keys that say which rows a stage takes, what their groups weigh, and when the stage is over.

Each section comes in kinds; a kind has only the keys that act in it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mmrl.config.section import Section
from mmrl.schedule import Schedule


class UniformSampling(Section):
    """Every row once per epoch, in an order of the seed and the epoch."""

    kind: Literal["uniform"]


class EasyToHardSampling(Section):
    """Rows in ascending order of their column `difficulty` (Observe-R1's NeuraLadder)."""

    kind: Literal["easy_to_hard"]
    then_by: str | None = None
    """A number in the rows' `extra` that orders rows of equal difficulty, such as NeuraLadder's
    complexity."""
    levels: int | None = Field(default=None, ge=1)
    """Cut the order into so many equal parts and shuffle each of them, anew in every epoch."""


class SelfPacedSampling(Section):
    """Rows at random among the easiest ones; the share that is open grows (self-paced learning)."""

    kind: Literal["self_paced"]
    open: float | Schedule = Schedule.of({0.0: 0.25, 0.25: 0.5, 0.5: 0.75, 0.75: 1.0})
    """The share of the rows, easiest first, by the share of the stage that is done."""

    @model_validator(mode="after")
    def _shares(self) -> SelfPacedSampling:
        share = Schedule.of(self.open)
        if not all(0 < value <= 1 for value in share.values):
            raise ValueError(f"open: shares are more than 0 and at most 1, got {share.given()}")
        return self


class WindowSampling(Section):
    """Rows whose pass rate, as met in training, lies in a window; rows not met yet are tried."""

    kind: Literal["window"]
    low: float | Schedule = 0.2
    """The lowest pass rate; a number, or numbers by the share of the stage that is done."""
    high: float | Schedule = 0.8
    memory: float = Field(default=0.5, ge=0, lt=1)
    """Weight of what was known of a row when it is met again; 0 keeps the last pass rate only."""
    patience: int = Field(default=3, ge=1)
    """Epochs in which a row outside the window is passed over before it is tried again."""

    @model_validator(mode="after")
    def _window(self) -> WindowSampling:
        low, high = Schedule.of(self.low), Schedule.of(self.high)
        for start in (*low.starts, *high.starts):
            # A value holds after its start, so this is asked for just beyond it.
            bounds = low.at(start + 1e-9), high.at(start + 1e-9)
            if not 0 <= bounds[0] <= bounds[1] <= 1:
                raise ValueError(
                    f"the window of pass rates is {bounds[0]:g} to {bounds[1]:g} after progress "
                    f"{start:g}; 'low' is at least 0 and at most 'high', which is at most 1"
                )
        return self


class ValueSampling(Section):
    """Prompts whose predicted mean score is nearest to a target (PCL, arXiv 2510.01135)."""

    kind: Literal["value"]
    target: float = 0.5
    """The predicted score that is wanted."""
    candidates: int = Field(default=4, ge=1)
    """Prompts looked at for each one taken; each costs one forward pass over the prompt."""
    lr: float = Field(default=0.5, gt=0, lt=2)
    """Share of its error that the value head corrects at once; 2 and more diverges."""


class AngleSampling(Section):
    """Rows ranked by the angles between their tokens' hidden states, walked along by a bell curve
    (GAIN-RL, arXiv 2506.02281).
    """

    kind: Literal["angle"]
    width: float = Field(default=1000.0, gt=0)
    """Standard deviation of the curve, in ranks."""
    speed: float = Field(default=500.0, ge=0)
    """Ranks that either of the two terms moves the curve at most."""
    sensitivity: float = Field(default=2.0, gt=0)
    target: float = Field(default=0.5, ge=0, le=1)
    """Accuracy from which the curve moves on."""
    most: float = Field(default=1000.0, ge=0)
    """Ranks that the curve moves at most in a step; it never moves back."""


class LimSampling(Section):
    """All rows for some epochs, then those whose learning follows the mean curve (LIMR, arXiv
    2502.11886).
    """

    kind: Literal["lim"]
    epochs: int = Field(default=3, ge=2)
    """Epochs over all rows, in which their pass rates are noted."""
    threshold: float = Field(default=0.6, lt=1)
    """The LIM score from which a row stays."""


class PooledMixture(Section):
    """Rows of all sources together: a source weighs as much as it has rows."""

    kind: Literal["pooled"]


class FixedMixture(Section):
    """Each row's source is drawn by given weights, then the source's next row (MoDoMoDo)."""

    kind: Literal["fixed"]
    weights: dict[str, float | Schedule] = Field(min_length=1)
    """By source, every source once; they need not sum to 1. 0 leaves a source out."""
    exhausted: Literal["repeat", "stop"] = "repeat"
    """When a source has no unseen row left: begin its next epoch, or end the stage (MoDoMoDo)."""

    @model_validator(mode="after")
    def _weights(self) -> FixedMixture:
        schedules = [Schedule.of(weight) for weight in self.weights.values()]
        if any(value < 0 for schedule in schedules for value in schedule.values):
            raise ValueError("weights: a weight is negative")
        starts = {start for schedule in schedules for start in schedule.starts}
        if not all(sum(s.at(start + 1e-9) for s in schedules) > 0 for start in starts):
            raise ValueError("weights: one of them has to be more than 0 at every moment")
        return self


class BanditMixture(Section):
    """Sources are drawn by what they still teach, by an upper confidence bound (DUMP, arXiv
    2504.09710).
    """

    kind: Literal["bandit"]
    window: int = Field(default=300, ge=1)
    """Last samples of a source over which the mean size of the advantages is taken."""
    temperature: float = Field(default=0.1, gt=0)
    """Of the softmax over the bounds."""
    exploration: float = Field(default=2.0, ge=0)
    """The 2 in sqrt(2 ln(N + 1) / (n + 1))."""


class NoFilter(Section):
    """Every group that was drawn is trained on."""

    kind: Literal["none"]


class SpreadFilter(Section):
    """Groups that agree are drawn again (DAPO's dynamic sampling, arXiv 2503.14476)."""

    kind: Literal["spread"]
    max_draws: int = Field(default=10, ge=1)
    """Draws per step at most; what is missing then is filled up with groups that carry no
    advantage."""


class BandFilter(Section):
    """Groups with a pass rate outside a band are drawn again (Online Difficulty Filtering, arXiv
    2504.03380).
    """

    kind: Literal["band"]
    low: float = Field(default=0.2, ge=0, le=1)
    high: float = Field(default=0.8, ge=0, le=1)
    max_draws: int = Field(default=10, ge=1)
    """Draws per step at most; what is missing then is filled up with groups that carry no
    advantage."""

    @model_validator(mode="after")
    def _ordered(self) -> BandFilter:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is larger than high ({self.high:g})")
        return self


class EqualWeight(Section):
    """Every group weighs the same."""

    kind: Literal["equal"]


class _ByPassRate(Section):
    right: float = Field(default=1.0, gt=0, le=1)
    """The accuracy from which a rollout counts as right."""


class EasyWeight(_ByPassRate):
    """VL-Cogito's ODSW, easy stage: sin(pi p) below a pass rate p of 0.5, then 1 (arXiv
    2507.22607).
    """

    kind: Literal["odsw_easy"]


class MediumWeight(_ByPassRate):
    """VL-Cogito's ODSW, medium stage: sin(pi p)."""

    kind: Literal["odsw_medium"]


class HardWeight(_ByPassRate):
    """VL-Cogito's ODSW, hard stage: 1 up to a pass rate p of 0.5, then sin(pi p)."""

    kind: Literal["odsw_hard"]
    all_wrong: float = Field(default=0.25, ge=0)
    """Weight of a group without a right rollout, whose advantages are those of other terms."""


class BandWeight(_ByPassRate):
    """VL-Cogito's binary weight: 1 for a pass rate in the band, 0 outside; 0 where none is
    right.
    """

    kind: Literal["band"]
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> BandWeight:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is larger than high ({self.high:g})")
        return self


class UncertainWeight(_ByPassRate):
    """Observe-R1's weight, 4 scale p (1 - p): most where right and wrong are even (arXiv
    2505.12432).
    """

    kind: Literal["observe_r1"]
    scale: float = Field(default=1.8, gt=0)


class RewardStop(Section):
    """The stage is over when a metric has reached a value."""

    at_least: float
    metric: str = "reward/mean"
    """A name in metrics.jsonl."""
    steps: int = Field(default=10, ge=1)
    """Mean over the last so many steps that have the metric."""


class PlateauStop(Section):
    """The stage is over when a metric has stopped rising."""

    metric: str = "reward/mean"
    """A name in metrics.jsonl."""
    steps: int = Field(default=50, ge=1)
    """The mean over the last so many steps is compared with the mean over as many before them."""
    min_gain: float = Field(default=0.01, ge=0)
    """By so much it has to have risen."""


class StopConfig(Section):
    """Rules that end a stage before `optim.steps`; the first one that holds does."""

    tokens: int | None = Field(default=None, ge=1)
    """Completion tokens of the stage, those of groups that were drawn and not kept included."""
    reward: RewardStop | None = None
    plateau: PlateauStop | None = None


class SelectConfig(Section):
    """Which rows of its pool a stage hands on, by the policy's pass rate on them."""

    low: float = Field(default=0.0, ge=0, le=1)
    """The lowest pass rate that is kept."""
    high: float = Field(default=1.0, ge=0, le=1)
    """The highest one."""
    limit: int | None = Field(default=None, ge=1)
    """Rows that are kept at most, the first ones of `order`."""
    order: Literal["given", "easy", "hard", "uncertain"] = "given"
    """As the pool has them; from the highest pass rate down; from the lowest up; or from those
    nearest to one half."""
    response: Literal["none", "first", "shortest"] = "none"
    """Hand each row on with a right completion as its `response`, for a stage that learns from
    those; rows without one are left out."""

    @model_validator(mode="after")
    def _ordered(self) -> SelectConfig:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is larger than high ({self.high:g})")
        return self


AnySampling = Annotated[
    UniformSampling
    | EasyToHardSampling
    | SelfPacedSampling
    | WindowSampling
    | ValueSampling
    | AngleSampling
    | LimSampling,
    Field(discriminator="kind"),
]
SftSampling = Annotated[
    UniformSampling | EasyToHardSampling | SelfPacedSampling, Field(discriminator="kind")
]
AnyMixture = Annotated[PooledMixture | FixedMixture | BanditMixture, Field(discriminator="kind")]
SftMixture = Annotated[PooledMixture | FixedMixture, Field(discriminator="kind")]
AnyFilter = Annotated[NoFilter | SpreadFilter | BandFilter, Field(discriminator="kind")]
AnyWeight = Annotated[
    EqualWeight | EasyWeight | MediumWeight | HardWeight | BandWeight | UncertainWeight,
    Field(discriminator="kind"),
]

UNIFORM = UniformSampling(kind="uniform")
POOLED = PooledMixture(kind="pooled")
NO_FILTER = NoFilter(kind="none")
EQUAL = EqualWeight(kind="equal")


def takes_accuracy(section: Section) -> bool:
    """Whether a section goes by the share of rollouts that are right by the rows' own verifiers."""
    kinds = (WindowSampling, AngleSampling, LimSampling, BandFilter, _ByPassRate)
    return isinstance(section, kinds)
