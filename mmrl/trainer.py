"""The training loops. Read `train_grpo`: it is the table of contents of mmrl.

GRPO (DeepSeekMath, arXiv 2402.03300): sample a group of completions per prompt, let verifiers judge
them, and move the policy towards what did better than its siblings.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch

from mmrl.ahead import Background, Begun, begin_draw, finish_draw, leads_on, sampling_seed
from mmrl.checkpoint import RunState, save_checkpoint
from mmrl.clock import Clock
from mmrl.config.schema import GrpoStage, SftStage, Sharing
from mmrl.curriculum.contract import Sampler
from mmrl.curriculum.draws import Draws
from mmrl.curriculum.forecast import Forecast
from mmrl.curriculum.stopping import StopRules
from mmrl.distributed.ranks import Ranks
from mmrl.distributed.share import prompt_elsewhere, share_groups
from mmrl.distributed.timing import share_seconds
from mmrl.engines.engine import RolloutEngine, held
from mmrl.evals.in_training import run_benchmarks
from mmrl.evaluate import Evaluation, evaluate
from mmrl.guidance.guide import Guide
from mmrl.guidance.metrics import describe_help
from mmrl.guidance.modes import shape_modes, with_empty_thought
from mmrl.interrupts import raise_if_heard
from mmrl.metrics import check_judged, describe
from mmrl.model import Policy
from mmrl.objectives.empg import modulate_advantages
from mmrl.objectives.imitation import ImitationWeight
from mmrl.objectives.mixed import backward_mixed, response_ids
from mmrl.objectives.reference import reset_reference
from mmrl.optimizers import forget_state
from mmrl.prompt import Prompts
from mmrl.rollout import as_record, fill_advantages
from mmrl.rubric import Rubric
from mmrl.run_folder import RunFolder
from mmrl.screen import Bar, Screen
from mmrl.seeds import derive
from mmrl.trackers import Trackers
from mmrl.types import Prompt, Rollout, Row
from mmrl.update import (
    Optimizer,
    Scoring,
    learning_rate,
    mean_metrics,
    minibatches,
    update_from_responses,
)


@dataclass(kw_only=True, slots=True)
class StageRun:
    """A stage on its way: what it trains, on what, and how far it is."""

    name: str
    stage: SftStage | GrpoStage
    seed: int
    policy: Policy
    reference: Policy | None
    engine: RolloutEngine
    """What samples with the policy's weights."""
    sharing: Sharing
    """What the completions of a group have computed in common."""
    optimizer: Optimizer
    prompts: Prompts
    rubric: Rubric
    heldout_rubric: Rubric
    """The rows' own verifiers only."""
    guide: Guide | None
    """What helps groups that fail; None where nothing is sampled."""
    rows: list[Row]
    heldout: list[Row]
    sampler: Sampler
    forecast: Forecast
    stop: StopRules
    imitation: ImitationWeight | None
    """What imitation weighs beside reinforcement; None where nothing is imitated."""
    folder: RunFolder
    screen: Screen
    trackers: Trackers
    step: int = 0
    tokens: int = 0
    rollouts: int = 0
    unjudged: int = 0
    stopped: str = ""
    """The rule that ended the stage before its last step; empty while none did."""
    ahead: Begun | None = None
    """The first draw of the next step, where it has begun."""
    clock: Clock = field(default_factory=Clock)

    @property
    def ranks(self) -> Ranks:
        """The processes that train together."""
        return self.policy.strategy.ranks

    @property
    def progress(self) -> float:
        """The share of the stage that is done when the current step begins, 0 to 1."""
        return self.step / self.stage.optim.steps

    @property
    def over(self) -> bool:
        """Whether the stage has made its last step."""
        return bool(self.stopped) or self.step >= self.stage.optim.steps


def train_grpo(run: StageRun, stage: GrpoStage, guide: Guide) -> None:
    """Train until the stage's last step."""
    scoring = guide.scoring
    run.engine.sync()
    with (
        Background(run.rubric) as background,
        run.screen.bar(run.name, stage.optim.steps, done=run.step) as bar,
    ):
        begin = partial(begin_draw, run, stage, guide, background)
        while not run.over:
            begin_step(run)
            begun, run.ahead = run.ahead, None
            moved = steps_behind(stage, begun)
            draws = Draws(config=stage.filter, wanted=stage.rollout.prompts_per_step)
            while draws.missing:
                begun = begun or begin(
                    count=draws.missing,
                    step=run.step,
                    seed=draws.seed(sampling_seed(run, run.step)),
                )
                groups = finish_draw(run, stage, guide, begun)
                draws.add(begun.places, share_groups(run.ranks, groups, begun.rows_P))
                run.clock.lap("share_s")
                begun = None
            rollouts_PG = draws.batch_PG
            moved |= shape_modes(rollouts_PG, stage.thinking)
            fill_advantages(rollouts_PG, stage.algo)
            moved |= draws.weigh(stage.weight)
            moved |= modulate_advantages(run.policy, rollouts_PG, stage.algo.empg, scoring)
            run.clock.lap("update_s")
            if leads_on(run, stage):
                run.ahead = begin(
                    count=stage.rollout.prompts_per_step,
                    step=run.step + 1,
                    seed=sampling_seed(run, run.step + 1),
                )
            steps = []
            for minibatch in minibatches(
                run.policy, run.reference, rollouts_PG, stage.algo, scoring
            ):
                losses = backward_mixed(
                    run.policy,
                    minibatch,
                    stage.algo,
                    scoring,
                    mix=run.imitation,
                    validation=() if steps else validation_prompts(run, stage),
                    lr=learning_rate(stage.optim, run.step),
                )
                steps.append(losses | run.optimizer.step(run.step))
            move_reference(run, stage)
            run.clock.lap("update_s")
            sync_engine(run)
            run.sampler.observe(draws.results())
            guide.observe(draws.everything_PG, step=run.step + 1)
            keep_count(run, stage, draws.rollouts)
            moved |= describe_help(draws.everything_PG, stage.guidance)
            run.clock.note("judge_busy_s", background.judged_s())
            end_step(run, describe(draws.drawn_PG) | moved | mean_metrics(steps), bar)


def train_sft(run: StageRun, stage: SftStage) -> None:
    """Train on gold responses until the stage's last step; the loss counts response tokens only."""
    scoring = Scoring(
        temperature=1.0,
        max_length=stage.rollout.max_new_tokens,
        micro_tokens=stage.optim.micro_tokens,
        sharing=run.sharing,
    )
    with run.screen.bar(run.name, stage.optim.steps, done=run.step) as bar:
        while not run.over:
            begin_step(run)
            places = run.sampler.take(stage.optim.batch_size, run.progress)
            rows = [
                with_empty_thought(run.rows[place], stage.thought_dropout, seed=run.seed)
                for place in places
            ]
            run.prompts.look_ahead([*run.ranks.own(rows), *run.forecast.after(run.step)])
            with held(run.policy, None, run.prompts):
                prompts_B = [run.prompts(row) for row in run.ranks.own(rows)]
            responses_B = [response_ids(run.policy, row) for row in rows]
            tokens = sum(map(len, responses_B))
            run.clock.lap("prompts_s")
            metrics = update_from_responses(
                run.policy,
                run.optimizer,
                prompts_B,
                run.ranks.own(responses_B),
                scoring,
                step=run.step,
                tokens=tokens,
            )
            run.clock.lap("update_s")
            run.tokens += tokens
            end_step(run, metrics, bar)


def begin_step(run: StageRun) -> None:
    """Start the clock and fix all randomness of the step, but for that of its samples."""
    raise_if_heard()
    run.ranks.begin(f"stage {run.name}, step {run.step + 1}")
    run.clock = Clock(ranks=run.ranks)
    run.prompts.begin_step()
    torch.manual_seed(derive(run.seed, run.name, run.step, "step"))


def steps_behind(stage: GrpoStage, begun: Begun | None) -> dict[str, float]:
    """What the metrics say of the step's first draw, where it may have begun a step ahead."""
    if not stage.rollout.async_steps:
        return {}
    return {"policy/steps_behind": 0.0 if begun is None else 1.0}


def sync_engine(run: StageRun) -> None:
    """Give the engine the new weights, once what began with the old ones is sampled."""
    if run.ahead is not None:
        run.ahead.wait_until_sampled()
        run.clock.lap("sample_s")
    run.engine.sync()
    run.clock.lap("sync_s")


def validation_prompts(run: StageRun, stage: GrpoStage) -> list[Prompt]:
    """The held-out prompts by which the gain of imitation is measured, when it is time."""
    adapt = stage.algo.imitation.adapt if stage.algo.imitation else None
    if adapt is None or not adapt.gain_every or run.step % adapt.gain_every:
        return []
    rows, ranks = run.heldout[: stage.eval.batch_size], run.ranks
    return [
        run.prompts(row) if place % ranks.count == ranks.rank else prompt_elsewhere(row)
        for place, row in enumerate(rows)
    ]


def move_reference(run: StageRun, stage: GrpoStage) -> None:
    """Make the reference a copy of the policy when it is time."""
    config = stage.algo.reference_reset
    if config is None or run.reference is None or (run.step + 1) % config.every:
        return
    reset_reference(run.reference, run.policy)
    if config.optimizer:
        forget_state(run.optimizer.adamw)


def keep_count(run: StageRun, stage: GrpoStage, rollouts: list[Rollout]) -> None:
    """Write the rollouts down, count them, and stop the run when too many could not be judged."""
    if stage.log.rollouts:
        run.folder.log_rollouts(run.name, run.step + 1, map(as_record, rollouts))
    run.rollouts += len(rollouts)
    run.unjudged += sum(rollout.verdict.score is None for rollout in rollouts)
    run.tokens += sum(len(rollout.completion.ids) for rollout in rollouts)
    check_judged(run.unjudged, run.rollouts, stage.rewards.max_unjudged, rollouts)


def end_step(run: StageRun, metrics: Mapping[str, float], bar: Bar) -> None:
    """Log the step, end the stage where a rule says so, evaluate and save when it is time."""
    run.step += 1
    seconds = share_seconds(run.ranks, run.clock.seconds())
    metrics = {**metrics, **run.prompts.end_step(run.ranks), **run.sampler.metrics()}
    run.stopped = run.stop.observe(metrics, run.tokens)
    if not run.stopped and run.ahead is None and run.sampler.exhausted():
        run.stopped = "rows"
    ended = {f"stop/{run.stopped}": 1.0} if run.stopped else {}
    log(run, {**metrics, **ended, "tokens": run.tokens})
    # A resumed run decodes again what it had remembered, so these counts stand with the clocks.
    prompts = run.prompts
    media = {
        "media_decoded": prompts.decoded,
        "media_processed": prompts.processed,
        "media_from_memory": prompts.from_memory,
        "media_from_disk": prompts.from_disk,
        "media_ahead": prompts.from_ahead,
    }
    run.folder.log_time(run.name, run.step, seconds | media)
    tokens = metrics.get("completion/length", 0.0) * metrics.get("completion/count", 0.0)
    bar.advance(
        metrics=metrics,
        tokens_per_second=tokens / seconds["step_s"] if tokens else None,
        idle_frac=seconds["idle_frac"],
    )
    if run.over:
        return
    if run.stage.eval.every and run.step % run.stage.eval.every == 0:
        evaluate_heldout(run)
        evaluate_benchmarks(run)
    if run.step % run.stage.checkpoint.every == 0:
        save(run, finished=False)


def log(run: StageRun, metrics: Mapping[str, float]) -> None:
    """Write a line of metrics, and tell the trackers."""
    run.folder.log(run.name, run.step, metrics)
    run.trackers.log(run.name, run.step, metrics)


def evaluate_heldout(run: StageRun) -> Evaluation | None:
    """Score the held-out rows and log the result as a line of metrics; None when the stage has
    none.
    """
    if not run.heldout:
        return None
    with run.screen.bar(f"{run.name}: held-out", len(run.heldout[: run.stage.eval.limit])) as bar:
        began = time.perf_counter()
        run.engine.sync()
        result = evaluate(
            run.engine,
            run.policy,
            run.heldout,
            run.prompts,
            run.heldout_rubric,
            run.stage,
            on_rows=bar.advance,
        )
    log(run, result.metrics())
    run.folder.log_time(run.name, run.step, {"eval_s": time.perf_counter() - began})
    return result


def evaluate_benchmarks(run: StageRun) -> None:
    """Answer and score the stage's benchmarks and log their numbers as a line of metrics."""
    if not run.stage.eval.benchmarks:
        return
    began = time.perf_counter()
    with run.policy.whole():
        numbers = run.ranks.first_only(
            lambda: run_benchmarks(
                run.policy,
                run.stage,
                max_new_tokens=run.stage.rollout.max_new_tokens,
                out=run.folder.path / "eval" / f"{run.name}-{run.step:06d}",
                screen=run.screen,
            ),
            "benchmarks",
        )
    log(run, numbers)
    run.folder.log_time(run.name, run.step, {"benchmarks_s": time.perf_counter() - began})


def save(run: StageRun, *, finished: bool) -> None:
    """Write a checkpoint of this moment."""
    metrics_bytes, rollouts_bytes = run.folder.metrics_bytes(), run.folder.rollouts_bytes()
    run.folder.sync()
    state = RunState(
        stage=run.name,
        step=run.step,
        finished=finished,
        sampler=run.sampler.state_dict(),
        stop=run.stop.state_dict(),
        metrics_bytes=metrics_bytes,
        rollouts_bytes=rollouts_bytes,
        tokens=run.tokens,
        rollouts=run.rollouts,
        unjudged=run.unjudged,
        sharing=run.sharing,
        imitation=run.imitation.state_dict() if run.imitation else None,
        guide=run.guide.state_dict() if run.guide else None,
    )
    folder = run.folder.path / "checkpoints"
    resets = isinstance(run.stage, GrpoStage) and run.stage.algo.reference_reset is not None
    save_checkpoint(
        folder,
        state,
        run.policy,
        run.optimizer.adamw,
        keep=run.stage.checkpoint.keep,
        reference=run.reference if resets else None,
    )
