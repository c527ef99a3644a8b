"""Count what a set of rows is made of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from mmrl.types import Row


@dataclass(kw_only=True, slots=True)
class SourceStats:
    """Counts over the rows of one source."""

    rows: int = 0
    modalities: Counter[str] = field(default_factory=Counter)
    verifiers: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    """By the answer as text; other values as JSON."""
    responses: int = 0
    """Rows that have a gold response."""


def count_rows(rows: Iterable[Row]) -> dict[str, SourceStats]:
    """Return counts by source, sources in alphabetical order."""
    found: dict[str, SourceStats] = {}
    for row in rows:
        stats = found.setdefault(row.source, SourceStats())
        answer = row.answer if isinstance(row.answer, str) else json.dumps(row.answer, default=str)
        stats.rows += 1
        stats.modalities[row.modality] += 1
        stats.verifiers.update(term.name for term in row.verifier)
        stats.answers[answer] += 1
        stats.responses += row.response is not None
    return dict(sorted(found.items()))
