"""Joins prompts, completions and verdicts into rollouts, and groups' verdicts into advantages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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

Facts = Sequence[Sequence[Mapping[str, Any]]]
"""[P][G]: what is added to the extra of the row that a verifier sees."""


def judge(
    rubric: Rubric,
    prompts_P: Sequence[Prompt],
    completions_PG: Sequence[Sequence[Completion]],
    *,
    progress: float,
    facts_PG: Facts | None = None,
) -> list[list[Rollout]]:
    """Let the rubric judge every completion beside its siblings. `progress` is the share of the
    stage that is done; `facts_PG` is what was found out for the verifiers, which read it in the
    row's extra.
    """
    facts_PG = facts_PG or [[{}] * len(completions_G) for completions_G in completions_PG]
    samples_PG = [
        [
            as_sample(prompt, completion, progress=progress, facts=facts)
            for completion, facts in zip(completions_G, facts_G, strict=True)
        ]
        for prompt, completions_G, facts_G in zip(prompts_P, completions_PG, facts_PG, strict=True)
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


def as_sample(
    prompt: Prompt, completion: Completion, *, progress: float, facts: Mapping[str, Any]
) -> Sample:
    """What a verifier sees of a completion: with what the answer began with, and with the facts."""
    row, text = prompt.row, prompt.opening + completion.text
    return Sample(
        row=dataclasses.replace(row, extra={**row.extra, **facts}) if facts else row,
        text=text,
        answer=extract(text),
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
    prompt, verdict, completion = rollout.prompt, rollout.verdict, rollout.completion
    row = prompt.row
    return {
        "row": row.id,
        "source": row.source,
        "media": [_reference(medium) for medium in row.media],
        "media_key": prompt.media_key,
        "prompt": _text(row),
        **({"hint": prompt.hint} if prompt.hint else {}),
        **({"opening": prompt.opening} if prompt.opening else {}),
        "answer": row.answer,
        "completion": completion.text,
        "length": len(completion.ids),
        "stop": completion.stop,
        "score": verdict.score,
        "status": verdict.status,
        "parts": dict(verdict.parts),
        **({"detail": verdict.detail} if verdict.detail else {}),
        "advantage": rollout.advantage,
        **({"aid": rollout.aid} if rollout.aid else {}),
        **({"level": rollout.level} if rollout.level else {}),
        **({"spent": True} if rollout.spent else {}),
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
