"""Joins prompts, completions and verdicts into rollouts, and groups' verdicts into advantages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmrl.advantage import assign_advantages
from mmrl.answer import extract
from mmrl.rubric import Rubric
from mmrl.types import Completion, Medium, Prompt, Rollout, Row, Sample


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


def fill_advantages(rollouts_PG: Sequence[Sequence[Rollout]], form: str) -> None:
    """Set every rollout's advantage from its group's verdicts."""
    scores_PG = [[rollout.verdict.score for rollout in rollouts_G] for rollouts_G in rollouts_PG]
    for rollouts_G, advantages_G in zip(
        rollouts_PG, assign_advantages(scores_PG, form), strict=True
    ):
        for rollout, advantage in zip(rollouts_G, advantages_G, strict=True):
            rollout.advantage = advantage


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
