"""Rows' own verifiers, for completions that come from anywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mmrl.config.schema import RewardsConfig
from mmrl.reward import sample_of
from mmrl.rubric import Rubric
from mmrl.types import Row, Verdict


class Judges:
    """Judges texts by what their row names; weights of other terms do not count."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Check the rows' verifiers.

        Raises:
            RewardError: one is unknown or wrongly parametrised.
        """
        self._rubric = Rubric(RewardsConfig(), [_unweighted(row) for row in rows])

    def judge(self, groups: Sequence[tuple[Row, Sequence[str]]]) -> list[list[Verdict]]:
        """Return a verdict for every text of every row."""
        samples = [[sample_of(_unweighted(row), text) for text in texts] for row, texts in groups]
        return self._rubric.judge(samples)

    def close(self) -> None:
        """End the worker processes, if there are any."""
        self._rubric.close()


def _unweighted(row: Row) -> Row:
    return dataclasses.replace(row, reward={})
