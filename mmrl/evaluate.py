"""Scores held-out rows by the row's own verifier on greedy completions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from mmrl.batch import micro_batches
from mmrl.config.schema import GrpoStage, RolloutConfig, SftStage
from mmrl.distributed.share import share_groups
from mmrl.engines.engine import RolloutEngine, held
from mmrl.model import Policy
from mmrl.prompt import Prompts
from mmrl.rollout import judge
from mmrl.rubric import Rubric
from mmrl.types import Rollout, Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Mean accuracy (0 to 1) of held-out rows; a row that could not be judged is counted, not
    scored.
    """

    by_modality: dict[str, float]
    by_task: dict[str, float]
    unjudged: int
    rollouts: tuple[Rollout, ...]

    def metrics(self) -> dict[str, float]:
        """As lines of metrics: `eval/accuracy/<modality>`, `eval/task/<source>`,
        `eval/unjudged`.
        """
        return (
            {f"eval/accuracy/{key}": value for key, value in self.by_modality.items()}
            | {f"eval/task/{key}": value for key, value in self.by_task.items()}
            | {"eval/unjudged": self.unjudged}
        )


def evaluate(
    engine: RolloutEngine,
    policy: Policy,
    rows: Sequence[Row],
    prompts: Prompts,
    rubric: Rubric,
    stage: SftStage | GrpoStage,
    *,
    on_rows: Callable[[int], None] = lambda count: None,
) -> Evaluation:
    """Answer every row once, greedily, and average the verdicts by modality and by source.
    `on_rows` hears how many rows were done.
    """
    rows = rows[: stage.eval.limit]
    greedy = RolloutConfig(
        max_new_tokens=stage.rollout.max_new_tokens, max_batch=stage.rollout.max_batch
    )
    rollouts: list[Rollout] = []
    ranks, size = policy.strategy.ranks, stage.eval.batch_size
    for chunk in micro_batches(len(rows), size):
        rows_P, next_P = rows[chunk.start : chunk.stop], rows[chunk.stop : chunk.stop + size]
        prompts.look_ahead([*ranks.own(rows_P), *ranks.own(next_P)])
        with held(policy, engine, prompts):
            prompts_P = [prompts(row) for row in ranks.own(rows_P)]
            completions_PG = engine.sample(prompts_P, greedy, group_size=1, seed=0, greedy=True)
        groups = judge(rubric, prompts_P, completions_PG, progress=1.0)
        rollouts += [group[0] for group in share_groups(ranks, groups, rows_P)]
        on_rows(len(chunk))
    by_modality: dict[str, list[float]] = defaultdict(list)
    by_task: dict[str, list[float]] = defaultdict(list)
    for rollout in rollouts:
        accuracy = rollout.verdict.parts.get("accuracy")
        if accuracy is not None:
            by_modality[rollout.prompt.row.modality].append(accuracy)
            by_task[rollout.prompt.row.source].append(accuracy)
    return Evaluation(
        by_modality={key: fmean(by_modality[key]) for key in sorted(by_modality)},
        by_task={key: fmean(by_task[key]) for key in sorted(by_task)},
        unjudged=sum(rollout.verdict.parts.get("accuracy") is None for rollout in rollouts),
        rollouts=tuple(rollouts),
    )
