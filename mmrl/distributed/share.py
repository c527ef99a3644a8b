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
    found = ranks.merge([_as_json(group) for group in groups], "rollouts: gathering")
    own = iter(groups)
    return [
        list(next(own)) if place % ranks.count == ranks.rank else _elsewhere(found[place], row)
        for place, row in enumerate(rows_P)
    ]


def _as_json(group: Sequence[Rollout]) -> dict[str, Any]:
    """A group: its prompts, which differ where only some completions had help, and what was
    answered to which of them.
    """
    prompts = {id(rollout.prompt): rollout.prompt for rollout in group}
    places = {key: place for place, key in enumerate(prompts)}
    return {
        "prompts": [
            {"media_key": prompt.media_key, "opening": prompt.opening, "hint": prompt.hint}
            for prompt in prompts.values()
        ],
        "rollouts": [
            {"prompt": places[id(rollout.prompt)], **_rollout_as_json(rollout)} for rollout in group
        ],
    }


def _rollout_as_json(rollout: Rollout) -> dict[str, Any]:
    completion, verdict = rollout.completion, rollout.verdict
    return {
        "ids": completion.ids,
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
    }


def prompt_elsewhere(row: Row, *, media_key: str = "", opening: str = "", hint: str = "") -> Prompt:
    """A prompt that another process holds: it has no tokens here."""
    import torch

    return Prompt(
        row=row,
        ids=(),
        media={},
        positions_RT=torch.zeros((1, 0), dtype=torch.long),
        media_key=media_key,
        opening=opening,
        hint=hint,
    )


def _elsewhere(group: Mapping[str, Any], row: Row) -> list[Rollout]:
    """The rollouts of a row that another process has sampled."""
    prompts = [prompt_elsewhere(row, **values) for values in group["prompts"]]
    return [_rollout(values, prompts[values["prompt"]]) for values in group["rollouts"]]


def _rollout(values: Mapping[str, Any], prompt: Prompt) -> Rollout:
    return Rollout(
        prompt=prompt,
        # the log-probs are needed where it is trained on, and nowhere else
        completion=Completion(
            ids=tuple(values["ids"]), logprobs=(), text=values["text"], stop=values["stop"]
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
