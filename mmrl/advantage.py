"""Turns the scores of a step into advantages: how much better a completion did than others. Lists
in, lists out.

Against its siblings:
`grpo`         (score - group mean) / (group std + eps)        DeepSeekMath, arXiv 2402.03300
`dr_grpo`      score - group mean                              Dr. GRPO, arXiv 2503.20783
`rloo`         score - mean of the other siblings              arXiv 2402.14740
`lite_ppo`     (score - group mean) / (batch std + eps)        Lite PPO, arXiv 2508.08221
Against the batch, or nothing:
`batch`        (score - batch mean) / (batch std + eps)        REINFORCE++, arXiv 2501.03262; over
               scores that were normalised by term within their groups, GDPO, arXiv 2601.05242
`none`         the score itself
By the outcome alone (arXiv 2506.01347):
`psr`          1 for what is right; what is wrong leaves the batch
`nsr`          -1 for what is wrong; what is right leaves the batch
`w_reinforce`  a small weight for what is right, -1 for what is wrong

Standard deviations have Bessel's correction. A score of None (not judged) leaves the means and gets
advantage 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, pstdev, stdev
from typing import Literal, get_args

Scores = Sequence[float | None]
GroupForm = Literal["grpo", "dr_grpo", "rloo", "lite_ppo"]
BatchForm = Literal["batch", "none"]
OutcomeForm = Literal["psr", "nsr", "w_reinforce"]
AdvantageForm = Literal[GroupForm, BatchForm, OutcomeForm]
OUTCOME_FORMS: tuple[str, ...] = get_args(OutcomeForm)
EPS = 1e-4
POSITIVE_WEIGHT = 0.1
"""W-REINFORCE's weight of what is right."""


def assign_advantages(
    scores_PG: Sequence[Scores], form: GroupForm | BatchForm
) -> list[list[float]]:
    """Advantages [P][G] of the scores [P][G]."""
    return _BY_SCORE[form](scores_PG)


def outcome_advantages(
    scores_PG: Sequence[Scores],
    form: OutcomeForm,
    *,
    right: float = 1.0,
    positive_weight: float = POSITIVE_WEIGHT,
) -> list[list[float | None]]:
    """Advantages [P][G] by whether a score is at least `right`; None leaves the batch, as does what
    was not judged where the form keeps one side only.

    >>> outcome_advantages([[1.0, 0.0]], "nsr")
    [[None, -1.0]]
    """
    gains: dict[OutcomeForm, tuple[float | None, float | None]] = {
        "psr": (1.0, None),
        "nsr": (None, -1.0),
        "w_reinforce": (positive_weight, -1.0),
    }
    positive, negative = gains[form]
    unjudged = 0.0 if form == "w_reinforce" else None
    return [
        [
            unjudged if score is None else positive if score >= right else negative
            for score in scores_G
        ]
        for scores_G in scores_PG
    ]


def without_outliers(advantages_B: Sequence[float], *, limit: float) -> list[float]:
    """The advantages of a batch, standardised; 0 where that is farther than `limit` from 0.

    The advantage filter of StableReinforce (R1-Reward, arXiv 2505.02835), which has a limit of 3:
    where nearly all of a batch scores the same, the few others are dozens of deviations away. The
    deviation is the population's, of completions; the authors' code weighs them by their tokens.
    """
    if not advantages_B or min(advantages_B) == max(advantages_B):
        return [0.0] * len(advantages_B)
    mean, std = fmean(advantages_B), max(pstdev(advantages_B), 1e-8)
    standard_B = [(advantage - mean) / std for advantage in advantages_B]
    return [standard if abs(standard) <= limit else 0.0 for standard in standard_B]


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
    by = spread(_flat(scores_PG))
    return [_scaled(_centred(scores_G), by=by) for scores_G in scores_PG]


def _batch(scores_PG: Sequence[Scores]) -> list[list[float]]:
    scores_B = _flat(scores_PG)
    advantages = iter(_scaled(_centred(scores_B), by=spread(scores_B)))
    return [[next(advantages) for _ in scores_G] for scores_G in scores_PG]


def _none(scores_PG: Sequence[Scores]) -> list[list[float]]:
    return [[0.0 if score is None else score for score in scores_G] for scores_G in scores_PG]


_BY_SCORE: dict[str, Callable[[Sequence[Scores]], list[list[float]]]] = {
    "grpo": _grpo,
    "dr_grpo": _dr_grpo,
    "rloo": _rloo,
    "lite_ppo": _lite_ppo,
    "batch": _batch,
    "none": _none,
}


def _flat(scores_PG: Sequence[Scores]) -> list[float | None]:
    return [score for scores_G in scores_PG for score in scores_G]


def _judged(scores: Scores) -> list[float]:
    return [score for score in scores if score is not None]


def _centred(scores: Scores) -> list[float]:
    judged = _judged(scores)
    if len(judged) < 2:
        return [0.0] * len(scores)
    mean = fmean(judged)
    # fmean of equal scores may differ from them in the last bit; a group that agrees teaches
    # exactly nothing
    if min(judged) == max(judged):
        return [0.0] * len(scores)
    return [0.0 if score is None else score - mean for score in scores]


def _scaled(advantages: list[float], *, by: float) -> list[float]:
    return [advantage / (by + EPS) for advantage in advantages]
