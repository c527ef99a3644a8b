"""Reads the help that rows carry: hints from the least to the most, solutions, teachers' traces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmrl.config.guidance import (
    AmpoGuidance,
    AnyGuidance,
    GhpoGuidance,
    KeyeGuidance,
    LuffyGuidance,
    PrefixGuidance,
    ScaffoldGuidance,
)
from mmrl.errors import DataError
from mmrl.objectives.hints import scaffold_levels, solution_prefix
from mmrl.types import Row


def hints_of(row: Row, guidance: AnyGuidance) -> list[str]:
    """What is added to the row's question, from the least help to the most; nothing where the
    guidance has no hints.

    Raises:
        DataError: the row has not what the hints are made of.
    """
    if isinstance(guidance, GhpoGuidance):
        solution = solution_of(row, guidance)
        shown = [("", solution_prefix(solution, share=share)) for share in guidance.shares]
    elif isinstance(guidance, ScaffoldGuidance):
        found = _chunks(row, guidance)
        shown = [level for kind in guidance.kinds for level in scaffold_levels({kind: found[kind]})]
    elif isinstance(guidance, KeyeGuidance):
        shown = [("", text) for text in _texts(row, guidance.hints, guidance.kind)]
    else:
        return []
    return [
        guidance.text.replace("{kind}", kind.capitalize()).replace("{hint}", hint)
        for kind, hint in shown
    ]


def solution_of(row: Row, guidance: GhpoGuidance | PrefixGuidance) -> str:
    """The text that hints or prefixes are cut from.

    Raises:
        DataError: the row has none.
    """
    if guidance.solution is None:
        return _response(row, guidance.kind, "guidance.solution")
    text = row.extra.get(guidance.solution)
    if not isinstance(text, str) or not text:
        raise _missing(row, guidance.kind, f"a text {guidance.solution!r} in 'extra'", text)
    return text


def traces_of(row: Row, guidance: LuffyGuidance | AmpoGuidance) -> list[str]:
    """The traces of the row's teachers.

    Raises:
        DataError: the row has none, or fewer than are to stand in a group.
    """
    if guidance.traces is None:
        traces = [_response(row, guidance.kind, "guidance.traces")]
    else:
        traces = _texts(row, guidance.traces, guidance.kind)
    wanted = guidance.count if isinstance(guidance, LuffyGuidance) else 1
    if len(traces) < wanted:
        raise _missing(row, guidance.kind, f"{wanted} traces (guidance.count)", len(traces))
    return traces


def help_of(row: Row, guidance: AnyGuidance) -> list[str]:
    """Every text that the guidance may put before the policy for the row, to be checked before
    training.

    Raises:
        DataError: the row has not what the guidance asks for.
    """
    if isinstance(guidance, LuffyGuidance | AmpoGuidance):
        return traces_of(row, guidance)
    if isinstance(guidance, PrefixGuidance):
        return [solution_of(row, guidance)]
    return hints_of(row, guidance)


def _response(row: Row, kind: str, key: str) -> str:
    if not row.response:
        raise DataError(
            f"row {row.id}: guidance {kind} needs its 'response', and it has none; add it, or name "
            f"a text of 'extra' by {key}"
        )
    return row.response


def _chunks(row: Row, guidance: ScaffoldGuidance) -> dict[str, list[str]]:
    given = row.extra.get(guidance.hints)
    known = given if isinstance(given, Mapping) else {}
    found = {kind: _as_texts(known.get(kind)) for kind in guidance.kinds}
    if not all(found.values()):
        wanted = f"{guidance.hints!r} in 'extra' with a list of texts for each of "
        raise _missing(row, guidance.kind, wanted + ", ".join(guidance.kinds), given)
    return found


def _texts(row: Row, key: str, kind: str) -> list[str]:
    given = row.extra.get(key)
    found = _as_texts(given)
    if not found:
        raise _missing(row, kind, f"a list of texts {key!r} in 'extra'", given)
    return found


def _as_texts(given: Any) -> list[str]:
    """The texts of a list; none where it is no list of texts."""
    texts = list(given) if isinstance(given, list | tuple) else []
    return texts if all(isinstance(text, str) and text for text in texts) else []


def _missing(row: Row, kind: str, wanted: str, found: object) -> DataError:
    shown = repr(found)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return DataError(
        f"row {row.id}: guidance {kind} needs {wanted}, got {shown}; add it, or remove the row"
    )
