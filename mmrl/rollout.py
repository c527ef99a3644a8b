"""Joins prompts, completions and verdicts into rollouts, and groups' verdicts into advantages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmrl.advantage import (
    POSITIVE_WEIGHT,
    assign_advantages,
    outcome_advantages,
    spread,
    without_outliers,
)
from mmrl.answer import extract
from mmrl.rubric import Rubric
from mmrl.types import Completion, Medium, Prompt, Rollout, Row, Sample

if TYPE_CHECKING:
    from mmrl.config.algo import AlgoConfig


def judge(
    rubric: Rubric,
    prompts_P: Sequence[Prompt],
    completions_PG: Sequence[Sequence[Completion]],
    *,
    progress: float,
) -> list[list[Rollout]]:
    """Let the rubric judge every completion beside its siblings. `progress` is the share of the
    stage that is done.
    """
    samples_PG = [
        [as_sample(prompt.row, completion, progress=progress) for completion in completions_G]
        for prompt, completions_G in zip(prompts_P, completions_PG, strict=True)
    ]
    verdicts_PG = rubric.judge(samples_PG)
    return [
        [
            Rollout(prompt=prompt, completion=completion, verdict=verdict)
            for completion, verdict in zip(completions_G, verdicts_G, strict=True)
        ]
        for prompt, completions_G, verdicts_G in zip(
            prompts_P, completions_PG, verdicts_PG, strict=True
        )
    ]


def as_sample(row: Row, completion: Completion, *, progress: float) -> Sample:
    """What a verifier sees of a completion."""
    return Sample(
        row=row,
        text=completion.text,
        answer=extract(completion.text),
        progress=progress,
        length=len(completion.ids),
        stop=completion.stop,
    )


def fill_advantages(rollouts_PG: Sequence[Sequence[Rollout]], algo: AlgoConfig) -> None:
    """Set every rollout's advantage, and whether it counts, from the verdicts of the step."""
    for rollouts_G, advantages_G in zip(rollouts_PG, _advantages(rollouts_PG, algo), strict=True):
        agrees = not spread([rollout.verdict.score for rollout in rollouts_G])
        for rollout, advantage in zip(rollouts_G, advantages_G, strict=True):
            rollout.advantage = advantage or 0.0
            rollout.counts = advantage is not None and not (agrees and algo.drop_agreeing)
    if algo.advantage_limit is not None:
        counted = [
            rollout for rollouts_G in rollouts_PG for rollout in rollouts_G if rollout.counts
        ]
        found = without_outliers([r.advantage for r in counted], limit=algo.advantage_limit)
        for rollout, advantage in zip(counted, found, strict=True):
            rollout.advantage = advantage


def _advantages(
    rollouts_PG: Sequence[Sequence[Rollout]], algo: AlgoConfig
) -> Sequence[Sequence[float | None]]:
    if algo.advantage in ("psr", "nsr", "w_reinforce"):
        weight = algo.positive_weight
        return outcome_advantages(
            [[_accuracy(rollout) for rollout in rollouts_G] for rollouts_G in rollouts_PG],
            algo.advantage,
            right=1.0 if algo.right is None else algo.right,
            positive_weight=POSITIVE_WEIGHT if weight is None else weight,
        )
    scores_PG = [[rollout.verdict.score for rollout in rollouts_G] for rollouts_G in rollouts_PG]
    return assign_advantages(scores_PG, algo.advantage)


def _accuracy(rollout: Rollout) -> float | None:
    """By the row's own verifiers; None where the rollout could not be judged."""
    verdict = rollout.verdict
    return None if verdict.score is None else verdict.parts.get("accuracy")


def as_record(rollout: Rollout) -> dict[str, Any]:
    """The rollout as a line of rollouts.jsonl; media appear as references, not as pixels."""
    row, verdict, completion = rollout.prompt.row, rollout.verdict, rollout.completion
    return {
        "row": row.id,
        "source": row.source,
        "media": [_reference(medium) for medium in row.media],
        "media_key": rollout.prompt.media_key,
        "prompt": _text(row),
        "answer": row.answer,
        "completion": completion.text,
        "length": len(completion.ids),
        "stop": completion.stop,
        "score": verdict.score,
        "status": verdict.status,
        "parts": dict(verdict.parts),
        **({"detail": verdict.detail} if verdict.detail else {}),
        "advantage": rollout.advantage,
    }


def _reference(medium: Medium) -> str:
    return (
        f"{medium.kind}: {len(medium.source)} bytes"
        if isinstance(medium.source, bytes)
        else str(medium.source)
    )


def _text(row: Row) -> str:
    parts = (part for message in row.prompt for part in message["content"])
    return "\n".join(
        part["text"] if part["type"] == "text" else f"<{part['type']}>" for part in parts
    )
