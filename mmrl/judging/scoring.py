"""Judge lines of JSON, for `mmrl rewards score`: one verifier call per line, any verifier on any
line.

A line that cannot be judged says so in its own `status` and `detail`; the others go on.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mmrl.errors import UserError
from mmrl.judging.panel import Panel, term_key
from mmrl.reward import find_verifier, sample_of
from mmrl.types import Row, Sample, Verdict, VerifierTerm

BATCH = 512
"""Lines that are read ahead, so that isolated verifiers judge side by side."""
ROW_KEYS = ("id", "source", "difficulty", "response")
EXACT = VerifierTerm(name="exact")
"""Judges what is right, for terms that depend on it, where the line does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    term: VerifierTerm
    samples: tuple[Sample, ...]
    together: bool
    """The line has `texts` and gets lists."""


def score_lines(lines: Iterable[bytes], panel: Panel) -> Iterator[str]:
    """Return every line, in order, with `score`, `status` and `parts` (and `detail`, where there
    is one).

    Args:
        lines: `{"verifier", "params", "answer", "text" or "texts", "progress", "row"}` as JSON.
            Optional: `length` or `lengths` in tokens (else the words of the text), `accuracy` or
                `accuracies` for
            terms that depend on it (else the row's verifier, else `exact`, says what is right).
        panel: Where verifiers run.
    """
    numbered = enumerate(lines, start=1)
    while batch := list(islice(numbered, BATCH)):
        yield from _score_batch(batch, panel)


def _score_batch(batch: Sequence[tuple[int, bytes]], panel: Panel) -> list[str]:
    fields: list[dict[str, Any]] = []
    buckets: dict[str, list[tuple[int, _Request]]] = {}
    for place, (number, line) in enumerate(batch):
        try:
            given = _read(line, number)
        except ValueError as error:
            fields.append({"line": number, **_as_fields(_error(str(error)))})
            continue
        fields.append(given)
        try:
            request = _request(given, number, panel)
            panel.add(request.term)
        except (UserError, ValueError) as error:
            given.update(_as_fields(_error(str(error))))
            continue
        buckets.setdefault(term_key(request.term), []).append((place, request))
    for requests in buckets.values():
        term = requests[0][1].term
        found = panel.judge(term, [request.samples for _, request in requests])
        for (place, request), verdicts in zip(requests, found, strict=True):
            fields[place].update(_shown(verdicts, together=request.together))
    return [json.dumps(given) for given in fields]


def _read(line: bytes, number: int) -> dict[str, Any]:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number} is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise ValueError(f"line {number} is not a JSON object")
    return given


def _request(given: Mapping[str, Any], number: int, panel: Panel) -> _Request:
    """Return what the line asks for.

    Raises:
        ValueError: a field is missing or of the wrong type.
        UserError: the verifier is unknown.
    """
    name = _field(given, "verifier", str)
    found = find_verifier(name)
    term = VerifierTerm(name=name, params=_field(given, "params", dict, {}))
    together = "texts" in given
    if found.group and not together:
        raise ValueError(f"{name!r} judges whole groups: give 'texts', a list")
    texts = _field(given, "texts", list) if together else [_field(given, "text", str)]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("'texts' must be a list of strings")
    row = _row(given, number)
    progress = _field(given, "progress", int | float, 0.0)
    if not 0 <= progress <= 1:
        raise ValueError(f"'progress' is {progress:g}, but it is a share from 0 to 1")
    samples = [sample_of(row, text, progress=float(progress)) for text in texts]
    samples = _with_lengths(samples, _several(given, "length", "lengths", len(texts)))
    if found.term and "verifier" not in term.params:
        told = _several(given, "accuracy", "accuracies", len(texts))
        samples = _with_accuracies(samples, told, panel)
    return _Request(term=term, samples=tuple(samples), together=together)


def _field(given: Mapping[str, Any], key: str, kind: Any, *default: Any) -> Any:
    if default and given.get(key) is None:
        return default[0]
    if key not in given:
        raise ValueError(f"there is no {key!r}")
    value = given[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{key!r} is {value!r:.60}, which is of the wrong type")
    return value


def _row(given: Mapping[str, Any], number: int) -> Row:
    """Return the line's row; what a row has no place for is `extra`."""
    row = _field(given, "row", dict, {})
    extra = {k: v for k, v in row.items() if k not in (*ROW_KEYS, "prompt", "answer", "extra")}
    inner = _field(row, "extra", dict, {})
    answer = given["answer"] if "answer" in given else row.get("answer")
    named = {key: row[key] for key in ROW_KEYS if key in row}
    return Row(
        **{"id": f"line {number}", "source": "", **named},
        prompt=[],
        answer="" if answer is None else answer,
        verifier=_row_verifiers(row.get("verifier")),
        extra={**extra, **inner},
    )


def _row_verifiers(given: Any) -> tuple[VerifierTerm, ...]:
    listed = given if isinstance(given, list) else [given] if given else []
    terms: list[Any] = [{"name": term} if isinstance(term, str) else term for term in listed]
    if not all(isinstance(term, dict) and isinstance(term.get("name"), str) for term in terms):
        raise ValueError("the row's 'verifier' must have a name")
    return tuple(VerifierTerm(name=term["name"], params=term.get("params") or {}) for term in terms)


def _several(given: Mapping[str, Any], one: str, many: str, count: int) -> list[Any] | None:
    """Return the numbers given for the texts, as one or as a list; None where there are none."""
    if many in given:
        values = given[many]
    elif one in given:
        values = given[one] if isinstance(given[one], list) else [given[one]] * count
    else:
        return None
    numbers = isinstance(values, list) and all(
        value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        for value in values
    )
    if not numbers or len(values) != count:
        raise ValueError(f"{many!r} must be {count} numbers")
    return values


def _with_lengths(samples: list[Sample], lengths: list[Any] | None) -> list[Sample]:
    known = lengths or [len(sample.text.split()) for sample in samples]
    pairs = zip(samples, known, strict=True)
    return [dataclasses.replace(sample, length=int(length or 0)) for sample, length in pairs]


def _with_accuracies(
    samples: list[Sample], accuracies: list[Any] | None, panel: Panel
) -> list[Sample]:
    if accuracies is None:
        term = samples[0].row.verifier[0] if samples and samples[0].row.verifier else EXACT
        accuracies = [verdict.score for verdict in panel.judge(term, [samples])[0]]
    pairs = zip(samples, accuracies, strict=True)
    return [dataclasses.replace(sample, accuracy=accuracy) for sample, accuracy in pairs]


def _error(detail: str) -> Verdict:
    return Verdict(score=None, status="error", detail=detail)


def _shown(verdicts: Sequence[Verdict], *, together: bool) -> dict[str, Any]:
    if not together:
        return _as_fields(verdicts[0])
    columns: dict[str, Any] = {
        "score": [verdict.score for verdict in verdicts],
        "status": [verdict.status for verdict in verdicts],
        "parts": [dict(verdict.parts) for verdict in verdicts],
    }
    details = [verdict.detail for verdict in verdicts]
    return {**columns, "detail": details} if any(details) else columns


def _as_fields(verdict: Verdict) -> dict[str, Any]:
    shown = {"score": verdict.score, "status": verdict.status, "parts": dict(verdict.parts)}
    return {**shown, "detail": verdict.detail} if verdict.detail else shown
