"""Scores responses: every item stays in the denominator, whatever its response or its scorer does.

A response that was cut is no answer in strict modes, unless it had already put one into a tag or a
box; under a benchmark's own rules it keeps what these give it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmrl.errors import DataError
from mmrl.evals.benchmark import Benchmark, Item, Record, Response, Score, unanswered
from mmrl.evals.reading import END_THINK, THINK, is_cut

STRICT = frozenset({"strict", "lenient"})
"""Modes of the harness itself; the others are the authors' rules."""
RESPONSE_KEYS = (
    "response",
    "extraction",
    "stop",
    "finish_reason",
    "sample",
    "coordinates",
    "sizes",
)
"""What a stored line holds beside the item's fields."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemResult:
    """An item with the verdicts on all samples of it, by mode."""

    item: Item
    samples: tuple[Mapping[str, Score], ...]


def judge(benchmark: Benchmark, item: Item, response: Response, mode: str) -> Score:
    """Return the verdict of one mode; a scorer that fails is the status `error`, and counts as
    wrong.
    """
    try:
        score = benchmark.score(item, response, mode)
    except Exception as error:
        return unanswered("error", detail=f"{type(error).__name__}: {error}")
    return _cut(score, response, mode) if response.extraction is None else score


def judge_all(
    benchmark: Benchmark, item: Item, response: Response, modes: Sequence[str]
) -> dict[str, Score]:
    """Return the verdict of each mode."""
    return {mode: judge(benchmark, item, response, mode) for mode in modes}


def missing(modes: Sequence[str], reason: str) -> dict[str, Score]:
    """Return the verdicts on a sample that no engine could give: errors, which count as wrong."""
    return {mode: unanswered("error", detail=reason) for mode in modes}


def check_modes(benchmark: Benchmark, mode: str | None) -> tuple[str, ...]:
    """Return the modes to score in: the one that is asked for, or all.

    Raises:
        DataError: the benchmark has no such mode.
    """
    if mode is None:
        return benchmark.modes
    if mode not in benchmark.modes:
        raise DataError(
            f"mode={mode}: benchmark {benchmark.name!r} has the modes {', '.join(benchmark.modes)}"
        )
    return (mode,)


def headline(modes: Sequence[str]) -> str:
    """Return the mode whose number stands first: strict, where it was asked for."""
    return "strict" if "strict" in modes else modes[0]


def split_line(line: Record) -> tuple[dict[str, Any], Response]:
    """Split a stored line into the item's fields and the response.

    Raises:
        ValueError: the line has neither `response` nor `extraction`, or what it has is of no use.
    """
    if "response" not in line and "extraction" not in line:
        raise ValueError("the line has neither 'response' nor 'extraction'")
    fields = {key: value for key, value in line.items() if key not in RESPONSE_KEYS}
    if "response" not in line and line["extraction"] is None:
        fields["extraction"] = None  # official rules may give credit even to this
    text = line.get("response")
    if isinstance(text, list | dict):
        raise ValueError(f"'response' is a {type(text).__name__} where a text should stand")
    stop = line.get("stop", line.get("finish_reason"))
    response = Response(
        text="" if text is None else str(text),
        stop={"length": "length", "eos": "eos", "stop": "eos"}.get(str(stop)),  # type: ignore[arg-type]
        extraction=None if line.get("extraction") is None else str(line["extraction"]),
        coordinates=line.get("coordinates"),
        sizes=tuple((int(width), int(height)) for width, height in line.get("sizes") or ()),
    )
    return fields, response


def score_fields(score: Score) -> dict[str, Any]:
    """Return a verdict as the keys that are written."""
    found = {
        "extracted": score.answer,
        "normalized": score.normalised,
        "correct": score.correct,
        "value": score.value,
        "how": score.how,
        "status": score.status,
    }
    return found if score.detail is None else found | {"detail": score.detail}


def score_of(fields: Mapping[str, Any]) -> Score:
    """Return the verdict that `score_fields` wrote."""
    return Score(
        value=fields["value"],
        correct=fields["correct"],
        answer=fields["extracted"],
        normalised=fields["normalized"],
        how=fields["how"],
        status=fields["status"],
        detail=fields.get("detail"),
    )


def by_item(scored: Sequence[tuple[Item, Mapping[str, Score]]]) -> list[ItemResult]:
    """Bring the samples of an item together, items in the order in which they first come. Items
    that share no more than their id are not the same.
    """
    found: dict[str, tuple[Item, list[Mapping[str, Score]]]] = {}
    for item, scores in scored:
        name = json.dumps([item.id, item.answer, item.choices], default=str)
        found.setdefault(name, (item, []))[1].append(scores)
    return [ItemResult(item=item, samples=tuple(samples)) for item, samples in found.values()]


def statuses(results: Sequence[ItemResult], mode: str) -> Iterator[Score]:
    """Yield the verdict of a mode on every sample."""
    return (sample[mode] for result in results for sample in result.samples)


def _cut(score: Score, response: Response, mode: str) -> Score:
    if not is_cut(response) or score.status == "error":
        return score
    if mode not in STRICT:
        return dataclasses.replace(score, status="truncated") if score.status != "ok" else score
    open_thought = response.text.rfind(THINK) > response.text.rfind(END_THINK)
    if score.status == "ok" and score.how in ("tag", "boxed") and not open_thought:
        return score
    return unanswered("truncated", answer=score.answer, how=score.how, detail=score.detail)
