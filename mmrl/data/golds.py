"""Let every row's verifier judge the row's own gold answer, and the gold answers of other rows.

A gold answer that does not score 1.0 would punish the right answer; a verifier that gives 1.0 to
every other answer would teach nothing. Two different answers can mean the same (`0.5` and `1/2`),
so one that passes proves nothing: a row is bad when all that were tried pass.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from mmrl.answer import BadGold
from mmrl.errors import DataError, RewardError
from mmrl.judging.panel import Panel, term_key
from mmrl.reward import check_row_term, gold_of_answer, gold_text, sample_of
from mmrl.types import Row, Sample, Verdict, VerifierTerm

TRIES = 4
"""Other answers that a row's verifier must not accept all of."""

_WHOLE = 1 - 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldReport:
    """What the verifiers said."""

    errors: tuple[DataError, ...]
    """One per bad row and verifier."""
    judged: int
    """Gold answers that were judged by a verifier of their row."""
    unopposed: int
    """Rows whose verifier had no other row with a different answer to refuse."""


def check_golds(rows: Sequence[Row], panel: Panel) -> GoldReport:
    """Judge gold answers, their own and others.

    Args:
        rows: Rows whose verifiers are in the project.
        panel: Where verifiers run; those that can hang run in its killable pool.
    """
    errors: list[DataError] = []
    judged = unopposed = 0
    for term, members in _by_term(rows):
        try:
            texts = _gold_texts(term, members)
            verdicts = panel.judge(term, [[sample_of(row, text)] for row, text in texts])
        except RewardError as error:
            errors += [_error(row, str(error)) for row in members]
            continue
        good = [
            (row, text, found[0].score or 0.0)
            for (row, text), found in zip(texts, verdicts, strict=True)
            if _is_whole(found[0])
        ]
        errors += [
            _error(row, f"{term.name} gives its own answer {_said(found[0])}")
            for (row, _), found in zip(texts, verdicts, strict=True)
            if not _is_whole(found[0])
        ]
        judged += len(texts)
        accepting, alone = _accepting(term, good, panel)
        errors += [
            _error(row, f"{term.name} gives {count} answers of other rows as much")
            for row, count in accepting
        ]
        unopposed += alone
    return GoldReport(errors=tuple(errors), judged=judged, unopposed=unopposed)


def _by_term(rows: Sequence[Row]) -> list[tuple[VerifierTerm, list[Row]]]:
    found: dict[str, tuple[VerifierTerm, list[Row]]] = {}
    for row in rows:
        for term in row.verifier:
            found.setdefault(term_key(term), (term, []))[1].append(row)
    return list(found.values())


def _gold_texts(term: VerifierTerm, rows: list[Row]) -> list[tuple[Row, str]]:
    check_row_term(term)
    return [(row, _gold_text(term, row)) for row in rows]


def _gold_text(term: VerifierTerm, row: Row) -> str:
    """Return a right completion; an answer that none can be written for is judged as it stands."""
    try:
        return gold_text(row, term)
    except BadGold:
        return gold_of_answer(row)


def _accepting(
    term: VerifierTerm, golds: list[tuple[Row, str, float]], panel: Panel
) -> tuple[list[tuple[Row, int]], int]:
    """Return the rows to which every answer tried is as good as their own, and the untried."""
    answers = [json.dumps(row.answer, sort_keys=True, default=str) for row, _, _ in golds]
    texts = dict(zip(reversed(answers), (text for _, text, _ in reversed(golds)), strict=True))
    distinct = list(texts)
    place = {answer: index for index, answer in enumerate(distinct)}
    groups: list[list[Sample]] = []
    for (row, _, _), answer in zip(golds, answers, strict=True):
        nearest = range(1, min(TRIES, len(distinct) - 1) + 1)
        others = [distinct[(place[answer] + step) % len(distinct)] for step in nearest]
        groups.append([sample_of(row, texts[other]) for other in others])
    tried = [(gold, group) for gold, group in zip(golds, groups, strict=True) if group]
    verdicts = panel.judge(term, [group for _, group in tried]) if tried else []
    accepting = [
        (row, len(found))
        for ((row, _, own), _), found in zip(tried, verdicts, strict=True)
        if all(verdict.score is not None and verdict.score >= own * _WHOLE for verdict in found)
    ]
    return accepting, len(golds) - len(tried)


def _is_whole(verdict: Verdict) -> bool:
    return verdict.score is not None and verdict.score >= _WHOLE


def _said(verdict: Verdict) -> str:
    if verdict.score is None:
        return f"no score ({verdict.status}: {verdict.detail})"
    return f"{verdict.score:g}, not 1.0" + (f" ({verdict.detail})" if verdict.detail else "")


def _error(row: Row, problem: str) -> DataError:
    return DataError(" ".join(f"{row.where}: row {row.id}: {problem}".split()))
