"""Runs the stages of a run in order, each from the last one's weights, and picks up a stopped run
where it stood.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from mmrl.checkpoint import Checkpoint, find_checkpoints, load_optimizer
from mmrl.config.dump import dump_run
from mmrl.config.loader import LoadedRun
from mmrl.config.schema import (
    AnyStage,
    GrpoStage,
    RewardsConfig,
    Run,
    SelectStage,
    SftStage,
    Sharing,
)
from mmrl.config.stage_order import starts_from
from mmrl.curriculum.build import build_sampler
from mmrl.curriculum.forecast import build_forecast
from mmrl.curriculum.policies import load_stage_policy, make_ready
from mmrl.curriculum.rows import StageRows, load_stage_rows, takes_selected
from mmrl.curriculum.select import SelectRun, run_select
from mmrl.curriculum.stopping import StopRules
from mmrl.distributed.check import check_machine
from mmrl.distributed.connect import connected
from mmrl.distributed.ranks import Ranks
from mmrl.distributed.strategy import Replicated
from mmrl.engines.engine import build_engine
from mmrl.errors import RunError
from mmrl.guidance.build import build_guide, check_help, words_of
from mmrl.lora import check_adapters
from mmrl.model import Policy
from mmrl.objectives.mixed import build_weight
from mmrl.objectives.reference import load_reference
from mmrl.optimizers import check_optimizers
from mmrl.parts import rest_encoders
from mmrl.prompt import Prompts, check_row
from mmrl.reporting.report import write_report
from mmrl.rubric import Rubric
from mmrl.run_folder import (
    RunFolder,
    create_run_folder,
    follow_run_folder,
    resume_run_folder,
)
from mmrl.screen import Screen
from mmrl.seeds import derive
from mmrl.sharing.setup import set_up_sharing
from mmrl.trackers import Trackers
from mmrl.trainer import (
    StageRun,
    evaluate_benchmarks,
    evaluate_heldout,
    save,
    train_grpo,
    train_sft,
)
from mmrl.types import Row


def train(loaded: LoadedRun, screen: Screen | None = None) -> Path:
    """Train all stages that are not done and write the report; return the run folder.

    Raises:
        UserError: the configuration, the rows, a medium, a verifier or the run folder does not
        allow it.
    """
    with connected(loaded.run.launch, loaded.run.out) as ranks:
        screen = (screen or Screen()) if ranks.leads else Screen(console=Console(quiet=True))
        return _train_stages(loaded, screen, ranks)


def _train_stages(loaded: LoadedRun, screen: Screen, ranks: Ranks) -> Path:
    run = loaded.run
    check_machine(run.launch)
    check_optimizers(run)
    check_adapters(run)
    folder = ranks.in_turn(lambda: _open_folder(loaded, ranks), "opening the run folder")
    try:
        for warning in folder.warnings:
            screen.say(f"mmrl: {warning}")
        began = time.perf_counter()
        rows: dict[str, StageRows] = {}
        for name, stage in run.stages.items():
            rows[name] = _rows(name, stage, run, folder, screen, rows, ranks)
        folder.log_time("run", 0, {"prepare_s": time.perf_counter() - began})
        last = folder.checkpoints[-1] if folder.checkpoints else None
        prompts = None
        trackers = Trackers(run, folder.path, speaks=ranks.leads)
        for index, name in enumerate(run.stages):
            if _is_done(run, name, last):
                continue
            ranks.begin(f"stage {name}, start")
            start = last if last is not None and last.state.stage == name else None
            if takes_selected(stage := run.stages[name]):
                rows[name] = _rows(name, stage, run, folder, screen, rows, ranks)
            coming = _Coming(
                run=run,
                name=name,
                rows=rows[name],
                folder=folder,
                screen=screen,
                trackers=trackers,
                ranks=ranks,
                start=start,
                tokens=_final(folder, list(run.stages)[index - 1]).state.tokens if index else 0,
            )
            prompts = _run_stage(coming, prompts)
        trackers.close()
        if prompts is not None:
            prompts.close()
        if ranks.leads:
            write_report(folder.path, run, screen)
    finally:
        folder.close()
    return folder.path


def _open_folder(loaded: LoadedRun, ranks: Ranks) -> RunFolder:
    run = loaded.run
    if not ranks.leads:
        return follow_run_folder(run.out, resume=bool(loaded.resume))
    return (
        resume_run_folder(run.out) if loaded.resume else create_run_folder(run.out, dump_run(run))
    )


def _rows(
    name: str,
    stage: AnyStage,
    run: Run,
    folder: RunFolder,
    screen: Screen,
    rows: dict[str, StageRows],
    ranks: Ranks,
) -> StageRows:
    return ranks.in_turn(
        lambda: load_stage_rows(name, stage, run, folder, screen, rows), f"rows of stage {name}"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Coming:
    """A stage that is next."""

    run: Run
    name: str
    rows: StageRows
    folder: RunFolder
    screen: Screen
    trackers: Trackers
    ranks: Ranks
    start: Checkpoint | None
    """Where it goes on."""
    tokens: int
    """Completion tokens of the stages before."""


def _run_stage(coming: _Coming, prompts: Prompts | None) -> Prompts:
    run, rows, folder, screen = coming.run, coming.rows, coming.folder, coming.screen
    stage = run.stages[coming.name]
    origin = starts_from(run.stages, coming.name)
    first_weights = _final(folder, origin).folder if origin else None
    trained = coming.start is not None and not isinstance(stage, SelectStage)
    gone_on = coming.start.folder if coming.start and trained else None
    policy = load_stage_policy(run, stage, first_weights, gone_on)
    for row in (*rows.train, *rows.heldout):
        check_row(row, policy)
    check_help(stage, rows.train, policy)
    if not isinstance(stage, SelectStage):
        shown = {medium.kind for row in rows.train for medium in row.media}
        rest_encoders(policy.model, shown)
    folder.start()
    if prompts is None:
        _say_where_it_stands(folder, screen)
    prompts = _prompts(prompts, policy, stage, screen)
    if isinstance(stage, SelectStage):
        _select(coming, stage, policy, prompts)
    else:
        _learn(coming, stage, policy, prompts, weights=first_weights, gone_on=gone_on)
    return prompts


def _select(coming: _Coming, stage: SelectStage, policy: Policy, prompts: Prompts) -> None:
    policy = replace(policy, strategy=Replicated(ranks=coming.ranks))
    with build_engine(policy, stage.rollout) as engine:
        select_run = SelectRun(
            name=coming.name,
            stage=stage,
            seed=coming.run.seed,
            policy=policy,
            engine=engine,
            prompts=prompts,
            rows=coming.rows.train,
            folder=coming.folder,
            screen=coming.screen,
            trackers=coming.trackers,
            tokens=coming.tokens,
        )
        run_select(select_run, coming.start.state if coming.start else None)


def _learn(
    coming: _Coming,
    stage: SftStage | GrpoStage,
    policy: Policy,
    prompts: Prompts,
    *,
    weights: Path | None,
    gone_on: Path | None,
) -> None:
    """Train, from the weights that the stage begins with or those that it goes on with."""
    run, name, rows, ranks = coming.run, coming.name, coming.rows, coming.ranks

    def share(policies: Sequence[Policy]) -> Sharing:
        chosen = coming.start.state.sharing if coming.start else None
        found = set_up_sharing(
            policies, stage.model, rows.train, prompts, chosen=chosen, warn=coming.screen.say
        )
        return ranks.gather(found, "sharing: agreeing")[0]

    ready = make_ready(
        run,
        name,
        policy,
        prompts,
        [*rows.train, *rows.heldout],
        ranks,
        weights=weights,
        gone_on=gone_on,
        share=share,
        folder=coming.folder.path,
    )
    policy = ready.policy
    build = partial(
        build_sampler,
        stage.sampling,
        stage.mixture,
        rows.train,
        seed=derive(run.seed, name, "order"),
        prompts=prompts,
        policy=policy,
    )
    sampler = build()
    with (
        _rubric(stage, rows.train) as rubric,
        _heldout_rubric(stage, rows) as heldout_rubric,
        build_engine(policy, stage.rollout) as engine,
    ):
        grpo = isinstance(stage, GrpoStage)
        stage_run = StageRun(
            name=name,
            stage=stage,
            seed=run.seed,
            policy=policy,
            reference=ready.reference,
            engine=engine,
            sharing=ready.sharing,
            optimizer=ready.optimizer,
            prompts=prompts,
            rubric=rubric,
            heldout_rubric=heldout_rubric,
            rows=rows.train,
            heldout=rows.heldout,
            sampler=sampler,
            forecast=build_forecast(stage, build, sampler, rows.train, ranks),
            stop=StopRules(stage.stop, tokens=coming.tokens),
            imitation=build_weight(stage.algo.imitation) if grpo else None,
            guide=build_guide(stage, prompts, rubric, heldout_rubric, ready.sharing, rows.train)
            if grpo
            else None,
            folder=coming.folder,
            screen=coming.screen,
            trackers=coming.trackers,
            tokens=coming.tokens,
        )
        first = next(other for other, one in run.stages.items() if one.steps)
        _train(stage_run, coming.start, first=name == first)
        ready.close()


def _train(stage_run: StageRun, start: Checkpoint | None, *, first: bool) -> None:
    """Train a stage to its end, from its start or from a checkpoint."""
    if start is not None:
        _go_on(stage_run, start)
    elif first:
        evaluate_heldout(stage_run)
        evaluate_benchmarks(stage_run)
    if isinstance(stage_run.stage, SftStage):
        train_sft(stage_run, stage_run.stage)
    elif stage_run.guide is not None:
        train_grpo(stage_run, stage_run.stage, stage_run.guide)
    evaluate_heldout(stage_run)
    evaluate_benchmarks(stage_run)
    save(stage_run, finished=True)


def _go_on(stage_run: StageRun, start: Checkpoint) -> None:
    load_optimizer(start.folder, stage_run.policy, stage_run.optimizer.adamw)
    if stage_run.reference is not None:
        load_reference(start.folder, stage_run.reference)
    stage_run.sampler.load_state_dict(start.state.sampler)
    stage_run.stop.load_state_dict(start.state.stop)
    if stage_run.imitation is not None and start.state.imitation is not None:
        stage_run.imitation.load_state_dict(start.state.imitation)
    if stage_run.guide is not None and start.state.guide is not None:
        stage_run.guide.load_state_dict(start.state.guide)
    stage_run.step, stage_run.tokens = start.state.step, start.state.tokens
    stage_run.rollouts, stage_run.unjudged = start.state.rollouts, start.state.unjudged


def _say_where_it_stands(folder: RunFolder, screen: Screen) -> None:
    if folder.checkpoints:
        last = folder.checkpoints[-1].state
        screen.say(f"resuming {folder.path} after step {last.step} of stage {last.stage}")
    else:
        screen.say(f"run folder: {folder.path}")


def _is_done(run: Run, name: str, last: Checkpoint | None) -> bool:
    if last is None:
        return False
    names = list(run.stages)
    return names.index(name) < names.index(last.state.stage) + last.state.finished


def _final(folder: RunFolder, name: str) -> Checkpoint:
    """The final checkpoint of an earlier stage."""
    finals, _ = find_checkpoints(folder.path / "checkpoints")
    for checkpoint in finals:
        if checkpoint.state.stage == name and checkpoint.state.finished:
            return checkpoint
    raise RunError(
        f"resume: the final checkpoint of stage {name!r} in {folder.path / 'checkpoints'} is gone "
        "or broken; start a new run"
    )


def _rubric(stage: SftStage | GrpoStage, rows: Sequence[Row]) -> Rubric:
    return Rubric(stage.rewards, rows) if isinstance(stage, GrpoStage) else Rubric(RewardsConfig())


def _heldout_rubric(stage: SftStage | GrpoStage, rows: StageRows) -> Rubric:
    """Held-out rows are judged by their own verifiers only, within the stage's limits; and others
    where their frames are shuffled.
    """
    rewards = RewardsConfig()
    if isinstance(stage, GrpoStage):
        limits = {"timeout_s": stage.rewards.timeout_s, "memory_mb": stage.rewards.memory_mb}
        rewards = rewards.model_copy(update=limits)
        if stage.contrast is not None:
            return Rubric(rewards, [*rows.heldout, *rows.train])
    return Rubric(rewards, rows.heldout)


def _prompts(kept: Prompts | None, policy: Policy, stage: AnyStage, screen: Screen) -> Prompts:
    """The prompts of the stage before go on to be of use where nothing that shapes them has
    changed.
    """
    suffix, opening = words_of(stage.thinking)
    fresh = Prompts(
        policy=policy,
        media=stage.media,
        system=stage.data.system,
        suffix=suffix,
        opening=opening,
        warn=screen.say,
    )
    if kept is None:
        return fresh
    if not fresh.makes_what(kept):
        kept.close()
        return fresh
    kept.policy, kept.encoders = policy, None
    return kept
