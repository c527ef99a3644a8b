"""AutoThink's rewards for thinking and for not thinking, over a batch (arXiv 2505.10832), and TON's
thought dropout (arXiv 2505.16854).

Right with a thought 1, right without 2, wrong with a thought 0, wrong without -1; a wrong answer
that repeats itself -2, no answer 0. In stage 3 lengths are shaped within the group; then neither
mode may take over the batch (mmrl/objectives/thinking.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean

from mmrl.config.guidance import AnyThinking, AutoThinking
from mmrl.objectives.thinking import (
    autothink_rewards,
    balance_modes,
    drop_thought,
    length_terms,
)
from mmrl.seeds import derive
from mmrl.types import Rollout, Row

_CLOSED = "</think>"
_AT_ONCE = "</think>\n\n"
REPEATED = -2.0
LONGEST_WORD = 120
LONGEST_RUN = 30
REPEATS = 10


def shape_modes(
    rollouts_PG: Sequence[Sequence[Rollout]], thinking: AnyThinking
) -> dict[str, float]:
    """Put AutoThink's rewards in the place of the step's scores, and return what the metrics say of
    the modes; nothing with other ways of thinking.
    """
    if not isinstance(thinking, AutoThinking):
        return {}
    judged_PG = [[r for r in group if r.verdict.score is not None] for group in rollouts_PG]
    rewards, thought, right = [], [], []
    for rollouts_G in judged_PG:
        thought_G = [thinks(r.completion.text) for r in rollouts_G]
        right_G = [_right(r, thinking.right) for r in rollouts_G]
        lengths_G = [len(r.completion.ids) for r in rollouts_G]
        terms_G = length_terms(lengths_G, right_G, alpha=thinking.shorter, beta=thinking.longer)
        worth_G = map(_punished, autothink_rewards(thought_G, right_G), rollouts_G)
        rewards += [worth + term for worth, term in zip(worth_G, terms_G, strict=True)]
        thought, right = [*thought, *thought_G], [*right, *right_G]
    balanced = balance_modes(rewards, thought, right, rate=thinking.rate, slope=thinking.slope)
    for rollout, score in zip((r for group in judged_PG for r in group), balanced, strict=True):
        rollout.verdict = dataclasses.replace(rollout.verdict, score=score)
    return _metrics(thought, right)


def thinks(text: str) -> bool:
    """Whether a completion behind the ellipsis thinks, and does not close the thought at once."""
    return not text.startswith(_AT_ONCE)


def repeats(text: str) -> bool:
    """Whether a run of at most 30 words occurs ten times in a row, or a word is 120 characters
    long.
    """
    words = text.split()
    if any(len(word) >= LONGEST_WORD for word in words):
        return True
    for size in range(1, LONGEST_RUN + 1):
        # of words that are equal at a distance of `size`, enough in a row make the run repeat
        needed, same = size * (REPEATS - 1), 0
        for place in range(size, len(words)):
            same = same + 1 if words[place] == words[place - size] else 0
            if same >= needed:
                return True
    return False


def with_empty_thought(row: Row, share: float, *, seed: int) -> Row:
    """The row, with an empty thought in its response if it is among that share of all rows: the
    same rows whenever they come.
    """
    if not row.response or derive(seed, "thought", row.id) / 2**63 >= share:
        return row
    return dataclasses.replace(row, response=drop_thought(row.response))


def _right(rollout: Rollout, at: float) -> bool | None:
    """None where the thought was never closed, or there is no answer."""
    accuracy = rollout.verdict.parts.get("accuracy")
    closed = _CLOSED in rollout.completion.text
    if accuracy is None or not closed or rollout.verdict.status == "no_answer":
        return None
    return accuracy >= at


def _punished(worth: float, rollout: Rollout) -> float:
    return REPEATED if worth < 0 and repeats(rollout.completion.text) else worth


def _metrics(thought: Sequence[bool], right: Sequence[bool | None]) -> dict[str, float]:
    if not thought:
        return {}
    found = {"thinking/share": fmean(thought)}
    for name, mode in (("thought", True), ("at_once", False)):
        own = [bool(good) for good, had in zip(right, thought, strict=True) if had is mode]
        if own:
            found[f"thinking/{name}_accuracy"] = fmean(own)
    return found
