"""The stage's rubric: every rollout's verdicts by term, made into one score.

The row's verifiers are the term `accuracy`; the stage adds its terms, with weights that a row may
override and a schedule may move. A rollout that a term with weight could not judge has no score.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Literal

from mmrl.config.schema import RewardsConfig
from mmrl.errors import RewardError
from mmrl.judging.panel import Panel, term_key
from mmrl.registry import did_you_mean
from mmrl.reward import check_row_term, find_verifier
from mmrl.schedule import Schedule
from mmrl.types import Row, Sample, Verdict, VerdictStatus, VerifierTerm

Combine = Literal["sum", "ratio", "gate", "normalise"]
ACCURACY = "accuracy"
EPS = 1e-4
"""Added to a group's standard deviation, as TRL's normalise-then-sum does."""


class Rubric:
    """Judges groups of siblings by a stage's `rewards:`. Close it when done: it may hold worker
    processes.
    """

    def __init__(self, config: RewardsConfig, rows: Sequence[Row] = ()) -> None:
        """Check the terms, and the rows' verifiers and weights.

        Raises:
            RewardError: a verifier or parameter is unknown, or a row weighs a term that the stage
                has not.
        """
        self._config = config
        self._panel = Panel(timeout_s=config.timeout_s, memory_mb=config.memory_mb)
        self._terms = {
            key: VerifierTerm(name=term.name, params=term.params)
            for key, term in config.terms.items()
            if term.name is not None
        }
        for term in self._terms.values():
            self._panel.add(term)
        for row in rows:
            self._check_row(row)
        self.rows = {row.id: row for row in rows}
        """The rows given, by id."""
        named = {term.name for row in rows for term in row.verifier}
        named |= {term.name for term in self._terms.values()}
        self.facts = frozenset(fact for name in named for fact in find_verifier(name).facts)
        """Keys of a row's extra that verifiers read, and that only the policy can tell."""

    def judge(self, groups: Sequence[Sequence[Sample]]) -> list[list[Verdict]]:
        """Return one verdict per sample of every group of siblings, in the same order.

        `parts` holds the unweighted score of every term, and of what terms are made of as
        `term/part`.
        """
        samples_PG = [list(group) for group in groups]
        judged: list[list[dict[str, Verdict]]] = [[{} for _ in group] for group in samples_PG]
        if ACCURACY in self._config.terms:
            self._add_accuracy(samples_PG, judged)
        for key, term in self._terms.items():
            for verdicts, found in zip(judged, self._panel.judge(term, samples_PG), strict=True):
                for by_term, verdict in zip(verdicts, found, strict=True):
                    by_term[key] = verdict
        return [self._scored(*pair) for pair in zip(samples_PG, judged, strict=True)]

    def cancel(self) -> None:
        """End what another thread has judged here, now and for good: its call raises
        CancelledError.
        """
        self._panel.cancel()

    def close(self) -> None:
        """End the worker processes, if there are any."""
        self._panel.close()

    def __enter__(self) -> Rubric:
        """Return the rubric."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the rubric."""
        self.close()

    def _check_row(self, row: Row) -> None:
        for term in row.verifier:
            try:
                check_row_term(term)
                self._panel.add(term)
            except RewardError as error:
                raise RewardError(f"row {row.id!r}: {error}") from error
        known = self._config.terms
        for key in row.reward:
            if key not in known:
                raise RewardError(
                    f"row {row.id!r}: 'reward' weighs {key!r}{did_you_mean(key, known)}; "
                    f"rewards.terms has: {', '.join(known)}"
                )
        if ACCURACY in self._config.terms and not row.verifier:
            raise RewardError(f"row {row.id!r} names no verifier")

    def _add_accuracy(
        self, samples_PG: list[list[Sample]], judged: list[list[dict[str, Verdict]]]
    ) -> None:
        """Judge every sample by its row's verifiers, and put the score where the other terms
        see it.
        """
        buckets: dict[str, tuple[VerifierTerm, list[tuple[int, int]]]] = {}
        for p, samples in enumerate(samples_PG):
            for g, sample in enumerate(samples):
                for term in sample.row.verifier:
                    buckets.setdefault(term_key(term), (term, []))[1].append((p, g))
        found: dict[tuple[int, int], list[tuple[VerifierTerm, Verdict]]] = {}
        for term, places in buckets.values():
            verdicts = self._panel.judge(term, [[samples_PG[p][g] for p, g in places]])[0]
            for place, verdict in zip(places, verdicts, strict=True):
                found.setdefault(place, []).append((term, verdict))
        for (p, g), parts in found.items():
            verdict = _mean(parts)
            judged[p][g][ACCURACY] = verdict
            samples_PG[p][g] = dataclasses.replace(samples_PG[p][g], accuracy=verdict.score)

    def _scored(self, samples: list[Sample], judged: list[dict[str, Verdict]]) -> list[Verdict]:
        weights = [self._weights(sample) for sample in samples]
        failed = [_first_unjudged(*pair) for pair in zip(judged, weights, strict=True)]
        scores: list[dict[str, float] | None] = [
            None if bad else {k: v.score for k, v in found.items() if v.score is not None}
            for bad, found in zip(failed, judged, strict=True)
        ]
        totals = combine(self._config.combine, scores, weights)
        verdicts = []
        for total, bad, found in zip(totals, failed, judged, strict=True):
            accuracy = found.get(ACCURACY)
            good: VerdictStatus = (
                "no_answer" if accuracy and accuracy.status == "no_answer" else "ok"
            )
            detail = bad.detail if bad else "; ".join(v.detail for v in found.values() if v.detail)
            status = bad.status if bad else good
            verdicts.append(Verdict(score=total, status=status, parts=_parts(found), detail=detail))
        return verdicts

    def _weights(self, sample: Sample) -> dict[str, float]:
        given = {key: term.weight for key, term in self._config.terms.items()} | dict(
            sample.row.reward
        )
        return {key: Schedule.of(weight).at(sample.progress) for key, weight in given.items()}


def combine(
    mode: Combine,
    scores: Sequence[Mapping[str, float] | None],
    weights: Sequence[Mapping[str, float]],
) -> list[float | None]:
    """Return one score per sibling from its scores by term; None stays None.

    `sum` is the weighted sum; `ratio` divides it by the sum of the weights; `gate` is the sum, but
    0 where the term `format` has no credit; `normalise` first makes each term's scores, over the
    judged siblings, (score - mean) / (std + 1e-4) with Bessel's correction.

    >>> combine("ratio", [{"accuracy": 1.0, "format": 0.0}], [{"accuracy": 1.0, "format": 0.1}])
    [0.9090909090909091]
    """
    if mode == "normalise":
        scores = _normalised(scores)
    return [
        None if found is None else _total(mode, found, weight)
        for found, weight in zip(scores, weights, strict=True)
    ]


def _total(mode: Combine, scores: Mapping[str, float], weights: Mapping[str, float]) -> float:
    if mode == "gate" and scores["format"] <= 0:
        return 0.0
    total = sum(weights[key] * score for key, score in scores.items())
    if mode != "ratio":
        return total
    mass = sum(weights[key] for key in scores)
    return total / mass if mass else 0.0


def _normalised(scores: Sequence[Mapping[str, float] | None]) -> list[dict[str, float] | None]:
    judged = [found for found in scores if found is not None]
    columns = {key: [found[key] for found in judged if key in found] for key in (judged or [{}])[0]}
    centre = {key: fmean(column) for key, column in columns.items()}
    spread = {
        key: stdev(c) if len(c) > 1 and min(c) < max(c) else 0.0 for key, c in columns.items()
    }
    return [
        None
        if found is None
        else {
            k: (v - centre[k]) / (spread[k] + EPS) if spread[k] else 0.0 for k, v in found.items()
        }
        for found in scores
    ]


def _first_unjudged(found: Mapping[str, Verdict], weights: Mapping[str, float]) -> Verdict | None:
    """Return the verdict of the first term with weight that could not be judged."""
    bad = (v for key, v in found.items() if v.score is None and weights[key] != 0)
    return next(bad, None)


def _mean(parts: Sequence[tuple[VerifierTerm, Verdict]]) -> Verdict:
    """Return the verdict of the row's verifiers together: their mean by weight."""
    if len(parts) == 1:
        return parts[0][1]
    bad = next((v for term, v in parts if v.score is None and term.weight != 0), None)
    named: dict[str, float | None] = {}
    for term, verdict in parts:
        named[term.name] = verdict.score
        named |= {f"{term.name}/{key}": part for key, part in verdict.parts.items()}
    detail = "; ".join(verdict.detail for _, verdict in parts if verdict.detail)
    if bad:
        return Verdict(score=None, status=bad.status, parts=named, detail=bad.detail)
    mass = sum(term.weight for term, _ in parts)
    if mass <= 0:
        return Verdict(
            score=None, status="error", parts=named, detail="the verifiers' weights sum to 0"
        )
    score = (
        sum(term.weight * verdict.score for term, verdict in parts if verdict.score is not None)
        / mass
    )
    empty = all(verdict.status == "no_answer" for _, verdict in parts)
    return Verdict(score=score, status="no_answer" if empty else "ok", parts=named, detail=detail)


def _parts(found: Mapping[str, Verdict]) -> dict[str, float | None]:
    parts: dict[str, float | None] = {}
    for key, verdict in found.items():
        parts[key] = verdict.score
        parts |= {f"{key}/{name}": value for name, value in verdict.parts.items()}
    return parts
