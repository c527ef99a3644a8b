"""Shows a comparison as tables: what differs in the settings, the numbers, groups, and the items
that one run has right and the other wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mmrl.evals.scoring import headline

MOST_ROWS = 40
"""Rows of one group table; --json has them all."""


def show_comparison(
    found: Mapping[str, Any], console: Console, *, mode: str | None, most: int
) -> None:
    """Print a comparison.

    Args:
        found: As `mmrl.evals.compare.compare` returns it.
        console: Where to.
        mode: Whose groups and items are listed; the strict one's if not given.
        most: Ids that are listed of each kind.
    """
    for side in "ab":
        console.print(f"{side.upper()}  {found[side]['path']}", highlight=False, markup=False)
    if found["differ"]:
        console.print(_settings(found))
    console.print(_overview(found))
    for name, task in found["tasks"].items():
        chosen = mode or headline(list(task["modes"]))
        _say_cautions(name, task, chosen, console)
        for word, ids in (("wins", "win_ids"), ("losses", "loss_ids")):
            listed = task["modes"][chosen][ids]
            more = f", and {len(listed) - most} more" if len(listed) > most else ""
            said = ", ".join(listed[:most]) or "none"
            line = f"{name}, {chosen}, {word} of A ({len(listed)}): {said}{more}"
            console.print(line, highlight=False, markup=False)
        for key, groups in task["modes"][chosen]["groups"].items():
            if len(groups) > 1:
                console.print(_groups(f"{name}, {chosen}: {key}", groups))


def _settings(found: Mapping[str, Any]) -> Table:
    table = _table("what differs in the settings", ["", "A", "B"])
    for key in found["differ"]:
        table.add_row(key, *(str(found[side].get(key, "")) for side in "ab"))
    return table


def _overview(found: Mapping[str, Any]) -> Table:
    columns = ["task", "mode", "n", "A", "B", "A - B (95 %)", "wins", "losses", "p"]
    table = _table("", columns)
    for name, task in found["tasks"].items():
        for mode, part in task["modes"].items():
            table.add_row(name, mode, str(task["n"]), *_cells(part))
    return table


def _groups(title: str, groups: Mapping[str, Any]) -> Table:
    table = _table(title, ["", "n", "A", "B", "A - B (95 %)", "wins", "losses", "p"])
    for value, part in list(groups.items())[:MOST_ROWS]:
        table.add_row(value, str(part["n"]), *_cells(part))
    if len(groups) > MOST_ROWS:
        table.add_row(f"and {len(groups) - MOST_ROWS} more", *[""] * 7)
    return table


def _cells(part: Mapping[str, Any]) -> list[str]:
    difference = f"{100 * part['difference']:+.1f}"
    if "low" in part:
        difference += f" ({100 * part['low']:+.1f} to {100 * part['high']:+.1f})"
    p = "" if part["p"] is None else f"{part['p']:.3g}"
    values = [f"{100 * part[side]:.1f}" for side in "ab"]
    return [*values, difference, str(part["wins"]), str(part["losses"]), p]


def _say_cautions(name: str, task: Mapping[str, Any], mode: str, console: Console) -> None:
    part = task["modes"][mode]
    said = []
    if part["low"] <= 0 <= part["high"]:
        said.append(f"{mode}: a difference of this size may be chance")
    if part["test"] and not part["test"].startswith("McNemar"):
        said.append(f"p is of the {part['test']}, as items have several samples or degrees")
    if task["prompts_differ"]:
        said.append(f"the prompts of {task['prompts_differ']} items differ")
    if any(part["errors"]):
        said.append(
            "without a verdict, and counted as wrong: {} in A, {} in B".format(*part["errors"])
        )
    for line in said:
        console.print(f"{name}: {line}", highlight=False, markup=False)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title or None, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", overflow="fold")
    return table
