"""What a group's advantages weigh, by how many of its completions are right (p, by the row's own
verifiers).

`odsw_easy`    sin(pi p) below p = 0.5, then 1         VL-Cogito, arXiv 2507.22607
`odsw_medium`  sin(pi p)
`odsw_hard`    1 up to p = 0.5, then sin(pi p); `all_wrong` at p = 0
`band`         1 for p in [low, high], else 0
`observe_r1`   4 scale p (1 - p)                       Observe-R1, arXiv 2505.12432

Where nothing is right the weight is 0, but for `odsw_hard`: 0.25 in VL-Cogito's code, where the
advantages of such a group are those of its length reward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from mmrl.config.sampling import (
    AnyWeight,
    BandWeight,
    EasyWeight,
    EqualWeight,
    HardWeight,
    UncertainWeight,
)
from mmrl.types import Rollout


def weigh_groups(rollouts_PG: Sequence[Sequence[Rollout]], config: AnyWeight) -> dict[str, float]:
    """Multiply the advantages of each group by its weight; return the weights' metrics.

    A group of which nothing is known, because no rollout could be judged, has no advantages.
    """
    if isinstance(config, EqualWeight):
        return {}
    weights = []
    for rollouts_G in rollouts_PG:
        share = right_share(rollouts_G, right=config.right)
        if share is None:
            continue
        weights.append(group_weight(share, config))
        for rollout in rollouts_G:
            rollout.advantage *= weights[-1]
    if not weights:
        return {}
    return {
        "weight/mean": fmean(weights),
        "weight/min": min(weights),
        "weight/max": max(weights),
    }


def right_share(rollouts_G: Sequence[Rollout], *, right: float = 1.0) -> float | None:
    """Return the share of the judged rollouts that are right; None where none was judged."""
    known = [
        accuracy
        for rollout in rollouts_G
        if (accuracy := rollout.verdict.parts.get("accuracy")) is not None
    ]
    return fmean(accuracy >= right for accuracy in known) if known else None


def group_weight(share: float, config: AnyWeight) -> float:
    """Return the weight of a group of which that share (0 to 1) is right.

    >>> round(group_weight(0.625, HardWeight(kind="odsw_hard")), 6)
    0.92388
    """
    if isinstance(config, EqualWeight):
        return 1.0
    if share == 0:
        return config.all_wrong if isinstance(config, HardWeight) else 0.0
    if isinstance(config, BandWeight):
        return float(config.low <= share <= config.high)
    if isinstance(config, UncertainWeight):
        return 4 * config.scale * share * (1 - share)
    if isinstance(config, EasyWeight):
        return _sine(share) if share < 0.5 else 1.0
    if isinstance(config, HardWeight):
        return 1.0 if share <= 0.5 else _sine(share)
    return _sine(share)


def _sine(share: float) -> float:
    # sin(pi) is 1e-16 in floating point; a group that is all right weighs exactly nothing
    return 0.0 if share == 1 else math.sin(math.pi * share)
