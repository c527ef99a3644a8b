"""Shows a contamination report as tables: hits of each kind, the scores with and without them, and
the items that were found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mmrl.evals.contamination import ANY, BOTH, KINDS

WORDS = {
    "medium": "the same file",
    "look": "a picture that looks the same",
    "words": "13 words of the question",
    "question": "the whole short question",
    BOTH: "medium and words in one row",
    ANY: "any of these",
}


def show_contamination(found: Mapping[str, Any], console: Console, *, most: int) -> None:
    """Print a report as `mmrl.evals.contamination.find_contamination` returns it.

    Args:
        found: The report.
        console: Where to.
        most: Items that are listed of each task.
    """
    for file in found["train"]:
        said = f"{file['file']}: {file['rows']:,} rows, {file['media']:,} media"
        console.print(said, highlight=False, markup=False)
    if not found["media_compared"]:
        console.print("media were not compared", highlight=False)
    for name, task in found["tasks"].items():
        console.print(_scores(name, task))
        if len(task["groups"]) and any(map(len, task["groups"].values())):
            for key, groups in task["groups"].items():
                console.print(_groups(f"{name}: {key}", groups))
        for item in task["items"][:most]:
            console.print(f"  {item['id']}: {_said(item['kinds'])}", highlight=False, markup=False)
        if len(task["items"]) > most:
            console.print(f"  and {len(task['items']) - most} more; --json has them all")
    if found["formulas"]:
        console.print(
            f"{found['formulas']:,} shared texts are formulas of the task, in more than ten items "
            "or prompts, and count for nothing",
            highlight=False,
        )


def _scores(name: str, task: Mapping[str, Any]) -> Table:
    modes = list(task["modes"])
    columns = ["in the training data", "items"]
    columns += [f"{mode}, {part}" for mode in modes for part in ("of them", "without them")]
    table = _table(f"{name}: {task['n']} items", columns)
    whole = [cell for mode in modes for cell in ("", _cell(task["modes"][mode]["all"]))]
    table.add_row("nothing left out", "", *whole)
    for kind in (*KINDS, BOTH, ANY):
        cells = [
            _cell(task["modes"][mode][part][kind])
            for mode in modes
            for part in ("on_hits", "without")
        ]
        table.add_row(WORDS[kind], str(task["hits"][kind]), *cells)
    return table


def _groups(title: str, groups: Mapping[str, Any]) -> Table:
    modes = list(next(iter(groups.values()))["all"])
    columns = ["", "n", "found"]
    columns += [f"{mode}, {part}" for mode in modes for part in ("all", "without")]
    table = _table(title, columns)
    for value, part in sorted(groups.items(), key=lambda entry: -entry[1]["hits"]):
        cells = [_percent(part[side][mode]) for mode in modes for side in ("all", "without")]
        table.add_row(value, str(part["n"]), str(part["hits"]), *cells)
    return table


def _said(kinds: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for kind, hit in kinds.items():
        more = f" and {hit['rows'] - 1} more" if hit.get("rows", 1) > 1 else ""
        quoted = f' "{hit["words"]}"' if "words" in hit else ""
        parts.append(f"{WORDS[kind]}{quoted} in {hit['row']}{more}")
    return "; ".join(parts)


def _cell(part: Mapping[str, float] | None) -> str:
    if part is None:
        return ""
    low, high = 100 * part["low"], 100 * part["high"]
    return f"{100 * part['value']:.1f} ({low:.1f}-{high:.1f})"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", overflow="fold")
    return table
