"""What each row's verifiers say of the row's own answer and of its neighbour's, for people to see.

The neighbour is the next row with another answer under the same verifier. `mmrl data check` tries
several others; here one is enough to look at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmrl.answer import BadGold
from mmrl.errors import RewardError
from mmrl.judging.panel import Panel, term_key
from mmrl.reward import check_row_term, gold_of_answer, gold_text, sample_of
from mmrl.types import Row, Verdict, VerifierTerm

Sense = Literal["right", "doubtful", "unjudged"]
SENSES: dict[Sense, str] = {
    "right": "the own answer is right, the neighbour's is not",
    "doubtful": "the own answer is not right, or the neighbour's is as good",
    "unjudged": "a verifier could not judge",
}

_WHOLE = 1 - 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldVerdict:
    """What one verifier says."""

    term: VerifierTerm
    own: Verdict
    neighbour: Verdict | None = None
    """None where no other row has a different answer."""
    neighbour_id: str = ""

    @property
    def sense(self) -> Sense:
        """What the two verdicts mean for the row."""
        judged = [verdict.score for verdict in (self.own, self.neighbour) if verdict is not None]
        if any(score is None for score in judged):
            return "unjudged"
        own, *other = [score or 0.0 for score in judged]
        fine = own >= _WHOLE and all(score < own * _WHOLE for score in other)
        return "right" if fine else "doubtful"


def judge_golds(rows: Sequence[Row], panel: Panel) -> list[list[GoldVerdict]]:
    """Return what the verifiers of each row say, in the order of the rows.

    Args:
        rows: Rows; verifiers that the project does not have are told as verdicts without a score.
        panel: Where verifiers run; those that can hang run in its killable pool.
    """
    found: list[list[GoldVerdict]] = [[] for _ in rows]
    groups: dict[str, tuple[VerifierTerm, list[int]]] = {}
    for number, row in enumerate(rows):
        for term in row.verifier:
            groups.setdefault(term_key(term), (term, []))[1].append(number)
    for term, members in groups.values():
        for number, verdict in _judge(term, members, rows, panel):
            found[number].append(verdict)
    return found


def sense_of(verdicts: Sequence[GoldVerdict]) -> Sense:
    """Return the worst that the verifiers of a row say."""
    senses = {verdict.sense for verdict in verdicts}
    return "unjudged" if "unjudged" in senses else "doubtful" if "doubtful" in senses else "right"


def _judge(
    term: VerifierTerm, members: Sequence[int], rows: Sequence[Row], panel: Panel
) -> list[tuple[int, GoldVerdict]]:
    try:
        check_row_term(term)
        texts = {number: _text(term, rows[number]) for number in members}
        others = _neighbours(members, rows)
        groups = [
            [sample_of(rows[number], texts[shown]) for shown in (number, others[number])]
            for number in members
        ]
        verdicts = panel.judge(term, groups)
    except RewardError as error:
        failed = Verdict(score=None, status="error", detail=str(error))
        return [(number, GoldVerdict(term=term, own=failed)) for number in members]
    return [
        (
            number,
            GoldVerdict(
                term=term,
                own=own,
                neighbour=None if others[number] == number else other,
                neighbour_id="" if others[number] == number else rows[others[number]].id,
            ),
        )
        for number, (own, other) in zip(members, verdicts, strict=True)
    ]


def _neighbours(members: Sequence[int], rows: Sequence[Row]) -> dict[int, int]:
    """Return for each row the next one, around the end, that has another answer; else itself."""
    answers = [json.dumps(rows[n].answer, sort_keys=True, default=str) for n in members]
    count = len(members)
    # Where answers change is where the next other answer is, for all rows that stand before.
    following = list(range(count))
    last = next((place for place in range(count) if answers[place] != answers[-1]), None)
    if last is None:
        return {number: number for number in members}
    for place in range(count - 1, -1, -1):
        after = (place + 1) % count
        if answers[after] != answers[place]:
            following[place] = after
        else:
            following[place] = following[after] if place < count - 1 else last
    return {members[place]: members[following[place]] for place in range(count)}


def _text(term: VerifierTerm, row: Row) -> str:
    try:
        return gold_text(row, term)
    except BadGold:
        return gold_of_answer(row)
