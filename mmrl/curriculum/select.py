"""The `select` stage: let the policy answer every row of a pool, and keep a part by its pass rates.

Nothing is trained. A chunk of rows is a step, after which the stage can be resumed; its checkpoints
hold no weights, since those are the ones that it started from.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from mmrl.batch import micro_batches
from mmrl.checkpoint import RunState, save_checkpoint
from mmrl.config.schema import RewardsConfig, SelectStage
from mmrl.curriculum.selection import Scored, choose, score_group, write_selection
from mmrl.distributed.share import share_groups
from mmrl.engines.engine import RolloutEngine
from mmrl.errors import RunError
from mmrl.metrics import check_judged, describe
from mmrl.model import Policy
from mmrl.prompt import Prompts
from mmrl.rollout import as_record, judge
from mmrl.rubric import Rubric
from mmrl.run_folder import RunFolder
from mmrl.screen import Screen
from mmrl.seeds import derive
from mmrl.trackers import Trackers
from mmrl.types import Row


@dataclass(kw_only=True, slots=True)
class SelectRun:
    """A select stage on its way."""

    name: str
    stage: SelectStage
    seed: int
    policy: Policy
    engine: RolloutEngine
    """What samples with the policy's weights."""
    prompts: Prompts
    rows: list[Row]
    folder: RunFolder
    screen: Screen
    trackers: Trackers
    tokens: int
    """Completion tokens since the run began."""
    step: int = 0
    """Chunks that are done."""
    unjudged: int = 0
    scored: list[Scored] = field(default_factory=list)


def run_select(run: SelectRun, start: RunState | None = None) -> None:
    """Score the rows that are not scored yet, then write down which are kept.

    Raises:
        DataError: none is kept.
        RewardError: too many completions could not be judged.
        RunError: a checkpoint is of other rows.
    """
    if start is not None:
        _go_on(run, start)
    chunks = [*micro_batches(len(run.rows), run.stage.rollout.prompts_per_step)]
    # the rows' weights are for terms of the stages that learn from them
    pool = [dataclasses.replace(row, reward={}) for row in run.rows]
    run.engine.sync()
    with (
        Rubric(RewardsConfig(), pool) as rubric,
        run.screen.bar(run.name, len(chunks), done=run.step) as bar,
    ):
        for chunk in chunks[run.step :]:
            ranks, coming = run.policy.strategy.ranks, pool[chunk.stop : chunk.stop + len(chunk)]
            rows = [pool[place] for place in chunk]
            run.prompts.look_ahead([*ranks.own(rows), *ranks.own(coming)])
            metrics = _score(run, rubric, rows)
            bar.advance(metrics=metrics)
            if run.step % run.stage.checkpoint.every == 0 and run.step < len(chunks):
                _save(run, finished=False)
    kept = choose(run.scored, run.stage.select)
    run.policy.strategy.ranks.first_only(
        lambda: write_selection(run.folder.path, run.name, kept, run.stage.select), "selection"
    )
    _log(run, {"select/pool": float(len(run.scored)), "select/kept": float(len(kept))})
    run.screen.say(f"{run.name}: {len(kept)} of {len(run.scored)} rows are kept")
    _save(run, finished=True)


def _go_on(run: SelectRun, state: RunState) -> None:
    run.scored = [Scored(**line) for line in state.sampler["scored"]]
    run.step, run.tokens, run.unjudged = state.step, state.tokens, state.unjudged
    if [line.id for line in run.scored] != [row.id for row in run.rows[: len(run.scored)]]:
        raise RunError(
            f"stage {run.name}: the rows are not those that were scored before; the data changed, "
            "start a new run"
        )


def _save(run: SelectRun, *, finished: bool) -> None:
    """Write a checkpoint of this moment, without weights."""
    metrics_bytes, rollouts_bytes = run.folder.metrics_bytes(), run.folder.rollouts_bytes()
    run.folder.sync()
    state = RunState(
        stage=run.name,
        step=run.step,
        finished=finished,
        sampler={"scored": [] if finished else [asdict(line) for line in run.scored]},
        stop={},
        metrics_bytes=metrics_bytes,
        rollouts_bytes=rollouts_bytes,
        tokens=run.tokens,
        rollouts=len(run.scored) * run.stage.rollout.group_size,
        unjudged=run.unjudged,
        sharing="none",
    )
    folder, keep = run.folder.path / "checkpoints", run.stage.checkpoint.keep
    save_checkpoint(folder, state, run.policy, None, keep=keep)


def _score(run: SelectRun, rubric: Rubric, rows: list[Row]) -> dict[str, float]:
    """Answer and judge a chunk; return its metrics."""
    began, rollout = time.perf_counter(), run.stage.rollout
    torch.manual_seed(derive(run.seed, run.name, run.step, "step"))
    ranks = run.policy.strategy.ranks
    ranks.begin(f"stage {run.name}, step {run.step + 1}")
    prompts_P = [run.prompts(row) for row in ranks.own(rows)]
    completions_PG = run.engine.sample(
        prompts_P,
        rollout,
        group_size=rollout.group_size,
        seed=derive(run.seed, run.name, run.step, "sample"),
        places=ranks.own(range(len(rows))),
    )
    groups = judge(rubric, prompts_P, completions_PG, progress=0.0)
    rollouts_PG = share_groups(ranks, groups, rows)
    run.scored += [score_group(rollouts_G) for rollouts_G in rollouts_PG]
    run.step += 1
    rollouts = [rollout for rollouts_G in rollouts_PG for rollout in rollouts_G]
    if run.stage.log.rollouts:
        run.folder.log_rollouts(run.name, run.step, map(as_record, rollouts))
    run.tokens += sum(len(rollout.completion.ids) for rollout in rollouts)
    run.unjudged += sum(rollout.verdict.score is None for rollout in rollouts)
    total = len(run.scored) * rollout.group_size
    check_judged(run.unjudged, total, RewardsConfig().max_unjudged, rollouts)
    metrics = describe(rollouts_PG)
    _log(run, metrics)
    run.folder.log_time(run.name, run.step, {"step_s": time.perf_counter() - began})
    return metrics


def _log(run: SelectRun, metrics: dict[str, Any]) -> None:
    line = {**metrics, "tokens": run.tokens}
    run.folder.log(run.name, run.step, line)
    run.trackers.log(run.name, run.step, line)
