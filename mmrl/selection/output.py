"""What a selection leaves behind: rows with their difficulty, the others with the reason why not.

picked.jsonl           rows with `difficulty`, and what it was made of in `extra.selection`
picked.rejected.jsonl  one line per row that is not in it: id, difficulty, reason
picked.difficulty.html a histogram
picked.manifest.json   what went in, what came out
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.coldstart.output import beside, file_hash, write_lines, write_text
from mmrl.coldstart.staff import Count
from mmrl.data.writing import write_rows
from mmrl.selection.histogram import as_page, bins_of
from mmrl.selection.scored import Outcome, Scored, Unscored
from mmrl.types import Row


def write_selection(
    outcomes: Sequence[Outcome],
    recipe: Mapping[str, Any],
    *,
    source: Path,
    out: Path,
    keep_all: bool,
    counts: Mapping[str, Count],
) -> dict[str, Any]:
    """Write all files and return the manifest; `out` comes last but for the manifest."""
    scored = [one for one in outcomes if isinstance(one, Scored)]
    kept = [one for one in scored if keep_all or not one.reason]
    written = {id(one) for one in kept}
    lost = [one for one in outcomes if id(one) not in written]
    method = str(recipe["method"])
    selected = sum(not one.reason for one in scored)
    told = [
        f"{method}: {selected} of {len(outcomes)} rows of {source.name} are selected",
        f"{len(outcomes) - len(scored)} rows could not be scored",
    ]
    page = as_page(bins_of(scored), title=f"{out.name}: difficulty by {method}", told=told)
    write_text(beside(out, "difficulty", ".html"), page)
    write_lines(beside(out, "rejected"), [_line(one) for one in lost])
    write_rows([_row(one, method) for one in kept], out)
    manifest = {
        "select": dict(recipe),
        "in": {"file": source.name, "rows": len(outcomes), "hash": file_hash(source)},
        "out": {out.name: {"rows": len(kept), "hash": file_hash(out)}},
        "selected": selected,
        "unscored": len(outcomes) - len(scored),
        "unanswered": sum(isinstance(one, Unscored) and not one.answered for one in outcomes),
        "teachers": {name: dataclasses.asdict(count) for name, count in counts.items()},
    }
    write_text(beside(out, "manifest", ".json"), json.dumps(manifest, indent=2) + "\n")
    return manifest


def _row(one: Scored, method: str) -> Row:
    facts = {"method": method, "selected": not one.reason, **one.facts}
    extra = {**one.row.extra, "selection": facts}
    return dataclasses.replace(one.row, difficulty=one.difficulty, extra=extra)


def _line(one: Outcome) -> dict[str, Any]:
    known = {"id": one.row.id, "source": one.row.source, "where": one.row.where}
    if isinstance(one, Unscored):
        return {**known, "reason": one.reason, "answered": one.answered}
    return {**known, "reason": one.reason, "difficulty": one.difficulty, **one.facts}
