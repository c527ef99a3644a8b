"""Shares the groups of a step out over processes, and brings back what became of all of them.

Every process knows every rollout of the step, so that advantages, filters, samplers, stop rules and
metrics are what they are in one process; but the prompt, with its media, stays where it was sampled
and is trained on there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmrl.distributed.ranks import Ranks
from mmrl.types import Completion, Prompt, Rollout, Row, Verdict


def share_groups(
    ranks: Ranks, groups: Sequence[Sequence[Rollout]], rows_P: Sequence[Row]
) -> list[list[Rollout]]:
    """The groups of all processes, in the order of the rows that they were shared out from.

    Args:
        ranks: The processes.
        groups: Of this process: those of `ranks.own(rows_P)`.
        rows_P: What all of them were shared out from.
    """
    if ranks.count == 1:
        return [list(group) for group in groups]
    texts = [[_as_json(rollout) for rollout in group] for group in groups]
    found = ranks.merge(texts, "rollouts: gathering")
    own = iter(groups)
    return [
        list(next(own)) if place % ranks.count == ranks.rank else _elsewhere(found[place], row)
        for place, row in enumerate(rows_P)
    ]


def _as_json(rollout: Rollout) -> dict[str, Any]:
    completion, verdict = rollout.completion, rollout.verdict
    return {
        "ids": completion.ids,
        "logprobs": completion.logprobs,
        "text": completion.text,
        "stop": completion.stop,
        "score": verdict.score,
        "status": verdict.status,
        "parts": dict(verdict.parts),
        "detail": verdict.detail,
        "imitated": rollout.imitated,
        "aid": rollout.aid,
        "level": rollout.level,
        "spent": rollout.spent,
        "facts": dict(rollout.facts),
        "media_key": rollout.prompt.media_key,
    }


def prompt_elsewhere(row: Row, media_key: str = "") -> Prompt:
    """A prompt that another process holds: it has no tokens here."""
    import torch

    nowhere = torch.zeros((1, 0), dtype=torch.long)
    return Prompt(row=row, ids=(), media={}, positions_RT=nowhere, media_key=media_key)


def _elsewhere(group: Sequence[Mapping[str, Any]], row: Row) -> list[Rollout]:
    """The rollouts of a row that another process has sampled."""
    prompt = prompt_elsewhere(row, group[0]["media_key"])
    return [_rollout(values, prompt) for values in group]


def _rollout(values: Mapping[str, Any], prompt: Prompt) -> Rollout:
    return Rollout(
        prompt=prompt,
        completion=Completion(
            ids=tuple(values["ids"]),
            logprobs=tuple(values["logprobs"]),
            text=values["text"],
            stop=values["stop"],
        ),
        verdict=Verdict(
            score=values["score"],
            status=values["status"],
            parts=values["parts"],
            detail=values["detail"],
        ),
        imitated=values["imitated"],
        aid=values["aid"],
        level=values["level"],
        spent=values["spent"],
        facts=values["facts"],
        here=False,
    )
