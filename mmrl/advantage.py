"""Turns the verdicts of a group into advantages: how much better a completion did than its
siblings. Lists in, lists out.

`grpo`      (score - group mean) / (group std + eps)            DeepSeekMath, arXiv 2402.03300
`dr_grpo`   score - group mean                                  Dr. GRPO, arXiv 2503.20783
`rloo`      score - mean of the other siblings                  arXiv 2402.14740
`lite_ppo`  (score - group mean) / (batch std + eps)            Lite PPO, arXiv 2508.08221

Standard deviations have Bessel's correction. A score of None (not judged) leaves the means and gets
advantage 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, stdev

Scores = Sequence[float | None]
EPS = 1e-4


def assign_advantages(scores_PG: Sequence[Scores], form: str) -> list[list[float]]:
    """Advantages [P][G] of the scores [P][G], in one of the forms of ADVANTAGES."""
    return ADVANTAGES[form](scores_PG)


def spread(scores_G: Scores) -> float:
    """Standard deviation of the judged scores of a group; 0 when fewer than two were judged."""
    judged = _judged(scores_G)
    return stdev(judged) if len(judged) > 1 else 0.0


def _grpo(scores_PG: Sequence[Scores]) -> list[list[float]]:
    return [_scaled(_centred(scores_G), by=spread(scores_G)) for scores_G in scores_PG]


def _dr_grpo(scores_PG: Sequence[Scores]) -> list[list[float]]:
    return [_centred(scores_G) for scores_G in scores_PG]


def _rloo(scores_PG: Sequence[Scores]) -> list[list[float]]:
    advantages_PG = []
    for scores_G in scores_PG:
        siblings = len(_judged(scores_G)) - 1
        # score - mean(others) = (score - mean(all)) * n / (n - 1)
        factor = (siblings + 1) / siblings if siblings > 0 else 0.0
        advantages_PG.append([advantage * factor for advantage in _centred(scores_G)])
    return advantages_PG


def _lite_ppo(scores_PG: Sequence[Scores]) -> list[list[float]]:
    batch_std = spread([score for scores_G in scores_PG for score in scores_G])
    return [_scaled(_centred(scores_G), by=batch_std) for scores_G in scores_PG]


ADVANTAGES: dict[str, Callable[[Sequence[Scores]], list[list[float]]]] = {
    "grpo": _grpo,
    "dr_grpo": _dr_grpo,
    "rloo": _rloo,
    "lite_ppo": _lite_ppo,
}


def _judged(scores: Scores) -> list[float]:
    return [score for score in scores if score is not None]


def _centred(scores_G: Scores) -> list[float]:
    judged = _judged(scores_G)
    if len(judged) < 2:
        return [0.0] * len(scores_G)
    mean = fmean(judged)
    # fmean of equal scores may differ from them in the last bit; a group that agrees teaches
    # exactly nothing
    if min(judged) == max(judged):
        return [0.0] * len(scores_G)
    return [0.0 if score is None else score - mean for score in scores_G]


def _scaled(advantages: list[float], *, by: float) -> list[float]:
    return [advantage / (by + EPS) for advantage in advantages]
