"""EMPG (arXiv 2509.09265) over the lines of completions: scores them once more, and gives every
token the advantage of its line.

The paper's steps are the turns of an agent; a completion of one turn has its lines for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from mmrl.config.algo import EmpgConfig
from mmrl.model import Policy
from mmrl.objectives.entropy import modulate_by_entropy
from mmrl.scoring import Scoring, score_rollouts
from mmrl.types import Rollout


def modulate_advantages(
    policy: Policy,
    rollouts_PG: Sequence[Sequence[Rollout]],
    config: EmpgConfig | None,
    scoring: Scoring,
) -> dict[str, float]:
    """Set the advantages of the tokens of every rollout that counts; return what moved.

    Does nothing without a config. Entropies are those of the policy before the update.
    """
    rollouts = [r for rollouts_G in rollouts_PG for r in rollouts_G if r.counts]
    if config is None or not rollouts:
        return {}
    pieces = policy.processor.tokenizer.batch_decode
    lines_BS = [
        line_lengths(pieces([[token] for token in rollout.completion.ids])) for rollout in rollouts
    ]
    entropies_BS = _line_entropies(policy, rollouts, lines_BS, scoring)
    found_BS = modulate_by_entropy(
        [rollout.advantage for rollout in rollouts],
        entropies_BS,
        sharpness=config.sharpness,
        clarity=config.clarity,
        clarity_weight=config.clarity_weight,
    )
    for rollout, lines_S, found_S in zip(rollouts, lines_BS, found_BS, strict=True):
        rollout.token_advantages = tuple(
            advantage
            for advantage, length in zip(found_S, lines_S, strict=True)
            for _ in range(length)
        )
        rollout.advantage = fmean(rollout.token_advantages)
    return {
        "empg/lines": fmean(map(len, lines_BS)),
        "empg/entropy_min": min(map(min, entropies_BS)),
        "empg/entropy_max": max(map(max, entropies_BS)),
    }


def _line_entropies(
    policy: Policy, rollouts: Sequence[Rollout], lines_BS: Sequence[list[int]], scoring: Scoring
) -> list[list[float]]:
    """Mean entropy of every line; each process scores the rollouts whose prompts it holds."""
    own = [place for place, rollout in enumerate(rollouts) if rollout.here]
    scored = score_rollouts(policy, [rollouts[place] for place in own], scoring)
    found = [
        [place, [float(entropies.mean()) for entropies in row_3C[1].split(lines_BS[place])]]
        for place, row_3C in zip(own, scored, strict=True)
    ]
    every = policy.strategy.ranks.gather(found, "entropies: gathering")
    by_place = dict(pair for part in every for pair in part)
    return [by_place[place] for place in range(len(rollouts))]


def line_lengths(pieces: Sequence[str]) -> list[int]:
    """How many tokens each line has; a token with a line break ends its line.

    >>> line_lengths(["a", "b\\n", "\\n", "c"])
    [2, 1, 1]
    """
    ends = [place + 1 for place, piece in enumerate(pieces) if "\n" in piece]
    if not ends or ends[-1] < len(pieces):
        ends.append(len(pieces))
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
