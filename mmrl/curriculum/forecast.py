"""Which rows a stage will most likely take next, so that their media are decoded before it does.

A twin of the sampler takes them from the sampler's present state. Where results and draws change
nothing about the choice the forecast is exact; elsewhere a wrong guess costs the time of decoding,
and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mmrl.config.sampling import AngleSampling, ValueSampling
from mmrl.config.schema import GrpoStage, SftStage
from mmrl.curriculum.contract import Sampler
from mmrl.distributed.ranks import Ranks
from mmrl.errors import UserError
from mmrl.types import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Of the rows of a stage's coming steps."""

    sampler: Sampler
    twin: Sampler | None
    """A second one like it, that no one else asks; None where nothing is to be foreseen, or where
    choosing asks the policy.
    """
    rows: Sequence[Row]
    """Of the stage."""
    count: int
    """Rows of a step."""
    steps: int
    """Of the stage."""
    ahead: int
    """Steps that are foreseen."""
    ranks: Ranks

    def after(self, step: int) -> list[Row]:
        """This process's rows of the steps that follow a step (0, 1, ...), whose own are taken."""
        coming = range(step + 1, min(step + 1 + self.ahead, self.steps))
        if self.twin is None or not coming:
            return []
        found: list[Row] = []
        try:
            state = self.sampler.state_dict()
            # where the last forecast came true, the twin stands there already
            if self.twin.state_dict() != state:
                self.twin.load_state_dict(state)
            for later in coming:
                places = self.twin.take(self.count, later / self.steps)
                found += self.ranks.own([self.rows[place] for place in places])
        except UserError:
            # the sampler itself will say so, if it gets there
            return found
        return found


def build_forecast(
    stage: SftStage | GrpoStage,
    build: Callable[[], Sampler],
    sampler: Sampler,
    rows: Sequence[Row],
    ranks: Ranks,
) -> Forecast:
    """The forecast of a stage; `build` makes a sampler like its own."""
    foresees = stage.media.workers and stage.media.ahead and any(row.media for row in rows)
    asks = isinstance(stage.sampling, ValueSampling | AngleSampling)
    grpo = isinstance(stage, GrpoStage)
    return Forecast(
        sampler=sampler,
        twin=build() if foresees and not asks else None,
        rows=rows,
        count=stage.rollout.prompts_per_step if grpo else stage.optim.batch_size,
        steps=stage.optim.steps,
        ahead=stage.media.ahead,
        ranks=ranks,
    )
