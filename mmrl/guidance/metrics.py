"""What the metrics of a step say of help, of shuffled frames and of references."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from mmrl.config.guidance import AnyGuidance, NoGuidance
from mmrl.guidance.facts import SHUFFLED
from mmrl.guidance.traces import is_right
from mmrl.types import Rollout
from mmrl.verify.reference import BASELINE


def describe_help(
    everything_PG: Sequence[Sequence[Rollout]], guidance: AnyGuidance
) -> dict[str, float]:
    """The metrics of the groups of a step, with all that was sampled for them; none where nobody
    was helped, and no frames were shuffled.
    """
    found = _contrast(everything_PG)
    facts = [group[0].facts for group in everything_PG]
    if baselines := [known[BASELINE] for known in facts if BASELINE in known]:
        found["reference/baseline"] = fmean(baselines)
    return found if isinstance(guidance, NoGuidance) else found | _help(everything_PG, guidance)


def _help(everything_PG: Sequence[Sequence[Rollout]], guidance: AnyGuidance) -> dict[str, float]:
    at = getattr(guidance, "right", 1.0)
    aided_PG = [[r for r in group if r.aid in ("hint", "prefix")] for group in everything_PG]
    traced_PG = [[r for r in group if r.aid == "trace"] for group in everything_PG]
    own_PG = [[r for r in group if r.aid is None] for group in everything_PG]
    found = {
        "guidance/failing_groups": float(
            sum(bool(own) and not any(is_right(r, at) for r in own) for own in own_PG)
        ),
        "guidance/hinted_groups": float(sum(map(bool, aided_PG))),
        "guidance/traced_groups": float(sum(map(bool, traced_PG))),
        "guidance/rescued_groups": float(
            sum(any(is_right(r, at) for r in aided) for aided in aided_PG)
        ),
        "guidance/completions": float(sum(map(len, aided_PG))),
    }
    levels = [max(r.level for r in aided if not r.spent) for aided in aided_PG if _helped(aided)]
    return found | ({"guidance/level": fmean(levels)} if any(levels) else {})


def _helped(aided: Sequence[Rollout]) -> bool:
    return any(not rollout.spent for rollout in aided)


def _contrast(everything_PG: Sequence[Sequence[Rollout]]) -> dict[str, float]:
    shown = [group for group in everything_PG if SHUFFLED in group[0].facts]
    if not shown:
        return {}
    own = [
        accuracy
        for group in shown
        for r in group
        if r.aid is None and (accuracy := r.verdict.parts.get("accuracy")) is not None
    ]
    return {
        "contrast/groups": float(len(shown)),
        "contrast/shuffled": fmean(group[0].facts[SHUFFLED] for group in shown),
        "contrast/completions": float(sum(r.aid == "shuffled" for g in shown for r in g)),
    } | ({"contrast/ordered": fmean(own)} if own else {})
