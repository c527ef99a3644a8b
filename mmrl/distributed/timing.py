"""Where the time of a step went, in every process."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from mmrl.distributed.ranks import Ranks


def share_seconds(ranks: Ranks, seconds: Mapping[str, float]) -> dict[str, float]:
    """This process's seconds by phase; and where several train together `rank<k>/<phase>` of each,
    with `wait_s` for the exchanges among them, and the mean of their `idle_frac`.
    """
    if ranks.count == 1:
        return dict(seconds)
    own = {**seconds, "wait_s": ranks.waited_s}
    every = ranks.gather(own, "metrics: clocks")
    idle = fmean(part["idle_frac"] for part in every)
    named = {
        f"rank{rank}/{phase}": value
        for rank, part in enumerate(every)
        for phase, value in part.items()
    }
    return {**seconds, "idle_frac": idle, **named}
