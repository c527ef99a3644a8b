"""Draws the groups of a step while something else goes on: verdicts on one batch of prompts are
found in a thread while the next batch is sampled, or while the step before makes its update.

Sampling a step ahead is asynchronous RLHF (arXiv 2410.18252). What is drawn depends on the weights
with which the draw begins, on the seed and on the prompts' places, never on when a thread is done.
Only the main thread touches prompts, other processes and, unless the engine is elsewhere, the
model. A step behind a checkpoint begins when its turn comes, so nothing half done is ever saved.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from mmrl.batch import micro_batches
from mmrl.config.schema import GrpoStage, RolloutConfig
from mmrl.engines.engine import held
from mmrl.guidance.facts import Draw
from mmrl.guidance.guide import Guide, Looked, Moment
from mmrl.rollout import judge
from mmrl.rubric import Rubric
from mmrl.seeds import derive
from mmrl.threads import Threads
from mmrl.types import Completion, Prompt, Rollout, Row

if TYPE_CHECKING:
    from mmrl.trainer import StageRun

Groups = list[list[Rollout]]

PATIENCE_S = 2.0
"""After an error or Ctrl-C, a verifier that has not returned by then is left behind."""


class Background:
    """A thread that judges and one that waits for an engine elsewhere, each doing one thing after
    the other. On leaving, what they have not done is given up.
    """

    def __init__(self, rubric: Rubric) -> None:
        """Start nothing yet; `rubric` is for this thread alone until it is left."""
        self._rubric = rubric
        self._judging = Threads(1, name="judging")
        self._sampling = Threads(1, name="sampling")
        self._lock = threading.Lock()
        self._judged_s = 0.0

    def sampled(self, sample: Callable[[], Looked]) -> Future[Looked]:
        """What the engine elsewhere answers."""
        return self._sampling.submit(sample)

    def judged(
        self, asked_P: Sequence[Prompt], sampled: Future[Looked], *, progress: float
    ) -> Future[Groups]:
        """The rollouts of prompts, once they are sampled."""
        return self._judging.submit(self._judge, asked_P, sampled, progress)

    def judged_s(self) -> float:
        """Seconds of judging since the last call."""
        with self._lock:
            seconds, self._judged_s = self._judged_s, 0.0
        return seconds

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rubric.cancel()
        for threads in (self._sampling, self._judging):
            threads.end(None if error is None else PATIENCE_S)

    def _judge(self, asked_P: Sequence[Prompt], sampled: Future[Looked], progress: float) -> Groups:
        looked = sampled.result()
        began = time.perf_counter()
        groups = judge(
            self._rubric,
            asked_P,
            looked.completions_PG,
            progress=progress,
            facts_PG=looked.facts_PG,
        )
        with self._lock:
            self._judged_s += time.perf_counter() - began
        return groups


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Prompts of a draw that are sampled and judged together."""

    prompts_P: list[Prompt]
    sampled: Future[Looked]
    judged: Future[Groups]


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """A draw whose groups are on their way."""

    places: list[int]
    """Of the rows among those of the stage, for all processes."""
    rows_P: list[Row]
    moment: Moment
    batches: list[Batch]
    """Of this process's prompts."""

    def wait_until_sampled(self) -> None:
        """Return when no weights are needed any more. Errors are raised by `finish_draw`."""
        wait([batch.sampled for batch in self.batches])


def begin_draw(
    run: StageRun,
    stage: GrpoStage,
    guide: Guide,
    background: Background,
    *,
    count: int,
    step: int,
    seed: int,
) -> Begun:
    """Take rows for a step (0, 1, ...), make their prompts, and sample and judge them, batch by
    batch; the last verdicts are still to come, and from an engine elsewhere all completions.
    """
    progress = step / stage.optim.steps
    places = run.sampler.take(count, progress)
    rows_P = [run.rows[place] for place in places]
    own = run.ranks.own(range(len(rows_P)))
    run.prompts.look_ahead([*run.ranks.own(rows_P), *run.forecast.after(step)])
    moment = Moment(step=step, progress=progress, seed=seed, places_P=own)
    draw = drawing(run, stage.rollout, progress)
    beside = run.engine.elsewhere and not guide.looks
    batches = []
    with held(run.policy, run.engine, run.prompts, alone=guide.scores):
        for chunk in micro_batches(len(own), _batch_size(run, stage, len(own))):
            here = replace(moment, places_P=own[chunk.start : chunk.stop])
            prompts_P = [run.prompts(rows_P[place]) for place in here.places_P]
            run.clock.lap("prompts_s")
            asked_P = guide.ask(prompts_P, here)
            sample = partial(_sample, guide, asked_P, draw, here)
            sampled = background.sampled(sample) if beside else _done(sample())
            run.clock.lap("sample_s")
            judged = background.judged(asked_P, sampled, progress=progress)
            batches.append(Batch(prompts_P=prompts_P, sampled=sampled, judged=judged))
    return Begun(places=places, rows_P=rows_P, moment=moment, batches=batches)


def finish_draw(run: StageRun, stage: GrpoStage, guide: Guide, begun: Begun) -> Groups:
    """Wait for this process's groups of a draw, and help those that need it.

    Raises whatever went wrong with sampling or judging them.
    """
    sampled = [batch.sampled.result() for batch in begun.batches]
    run.clock.lap("sample_s")
    groups = [group for batch in begun.batches for group in batch.judged.result()]
    run.clock.lap("judge_s")
    prompts_P = [prompt for batch in begun.batches for prompt in batch.prompts_P]
    draw = drawing(run, stage.rollout, begun.moment.progress)
    with held(run.policy, run.engine, run.prompts, alone=guide.scores):
        groups = guide.help(prompts_P, groups, _joined(sampled), draw, begun.moment)
    run.clock.lap("sample_s")
    return groups


def drawing(run: StageRun, rollout: RolloutConfig, progress: float) -> Draw:
    """How completions are sampled at a share of the stage."""
    if rollout.budget is not None:
        budget = int(rollout.budget.at(progress))
        rollout = rollout.model_copy(update={"max_new_tokens": budget})
    return partial(run.engine.sample, config=rollout)


def sampling_seed(run: StageRun, step: int) -> int:
    """The seed of the first draw of a step (0, 1, ...)."""
    return derive(run.seed, run.name, step, "sample")


def leads_on(run: StageRun, stage: GrpoStage) -> bool:
    """Whether the next step may begin before this one's update: there is one, rows are left for it,
    and no checkpoint stands between the two.
    """
    done = run.step + 1
    return (
        stage.rollout.async_steps > 0
        and done < stage.optim.steps
        and done % stage.checkpoint.every != 0
        and not run.sampler.exhausted()
    )


def _batch_size(run: StageRun, stage: GrpoStage, own: int) -> int:
    """Prompts that this process samples at a time."""
    together = stage.rollout.prompts_per_batch
    return max(1, own if together is None else -(-together // run.ranks.count))


def _sample(guide: Guide, asked_P: Sequence[Prompt], draw: Draw, moment: Moment) -> Looked:
    completions_PG: list[list[Completion]] = draw(
        asked_P, group_size=guide.own_size, seed=moment.seed, places=moment.places_P
    )
    return guide.look(asked_P, completions_PG, draw, moment)


def _done(looked: Looked) -> Future[Looked]:
    future: Future[Looked] = Future()
    future.set_result(looked)
    return future


def _joined(parts: Iterable[Looked]) -> Looked:
    """What is known of the batches of a draw, as if they had been one."""
    parts = [*parts]
    return Looked(
        completions_PG=[group for part in parts for group in part.completions_PG],
        facts_PG=[facts for part in parts for facts in part.facts_PG],
        spent_PG=[spent for part in parts for spent in part.spent_PG],
    )
