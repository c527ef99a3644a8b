"""Shows the numbers of benchmarks as tables: modes side by side, then how, status and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mmrl.evals.benchmark import Benchmark

MOST_ROWS = 40
"""Rows of one group table; the file has them all."""
MOST_PUBLISHED = 6


def show(
    summaries: Sequence[tuple[Benchmark, Mapping[str, Any]]], console: Console | None = None
) -> None:
    """Print one table of all benchmarks, then each one's counts and groups."""
    console = console or Console(stderr=True, soft_wrap=False)
    console.print(_overview(summaries))
    for benchmark, summary in summaries:
        console.print(_counts(summary))
        for key in benchmark.groups:
            table = _group(key, summary)
            if table is not None:
                console.print(table)
        _say_published(benchmark, console)
        for note in benchmark.notes:
            console.print(f"note: {note}", highlight=False, markup=False)


def _overview(summaries: Sequence[tuple[Benchmark, Mapping[str, Any]]]) -> Table:
    several = any("maj@k" in f for _, summary in summaries for f in summary["modes"].values())
    columns = ["task", "mode", "n", "k", "metric", "value (95 %)"]
    table = _table("", columns + (["pass@k", "maj@k"] if several else []))
    for benchmark, summary in summaries:
        for mode, found in summary["modes"].items():
            row = [benchmark.name, mode, str(summary["n"]), _samples(summary["samples"])]
            row += [found["name"], _cell(found)]
            if several:
                passes = list(found.get("pass@k", {}).items())
                votes = list(found.get("maj@k", {}).values())
                row.append(f"{_percent(passes[-1][1])} (k={passes[-1][0]})" if passes else "")
                row.append(_percent(votes[0]) if votes else "")
            table.add_row(*row)
    return table


def _counts(summary: Mapping[str, Any]) -> Table:
    modes = summary["modes"]
    table = _table(f"{summary['benchmark']}: status and how", ["", *modes])
    for kind in ("status", "how"):
        for word in sorted({word for found in modes.values() for word in found[kind]}):
            counts = [str(found[kind].get(word, 0)) for found in modes.values()]
            table.add_row(f"{kind} {word}", *counts)
    for name in dict.fromkeys(key for found in modes.values() for key in found.get("numbers", ())):
        values = (found.get("numbers", {}).get(name) for found in modes.values())
        table.add_row(name, *("" if value is None else _percent(value) for value in values))
    return table


def _group(key: str, summary: Mapping[str, Any]) -> Table | None:
    modes = summary["modes"]
    values = list(next(iter(modes.values()))["groups"].get(key, {}))
    if len(values) < 2:
        return None
    table = _table(f"{summary['benchmark']}: {key}", ["", "n", *modes])
    for value in values[:MOST_ROWS]:
        found = [modes[mode]["groups"][key][value] for mode in modes]
        table.add_row(value, str(found[0]["n"]), *map(_cell, found))
    if len(values) > MOST_ROWS:
        table.add_row(f"and {len(values) - MOST_ROWS} more", "", *("" for _ in modes))
    return table


def _cell(part: Mapping[str, Any]) -> str:
    if "low" not in part:
        return _percent(part["value"])
    return f"{_percent(part['value'])} ({_percent(part['low'])}-{_percent(part['high'])})"


def _say_published(benchmark: Benchmark, console: Console) -> None:
    if not benchmark.published:
        return
    table = _table(f"{benchmark.name}: published", ["model", "value", "setting", "source"])
    for number in benchmark.published[:MOST_PUBLISHED]:
        table.add_row(number.model, f"{number.value:g}", number.setting, number.source)
    console.print(table)
    hidden = len(benchmark.published) - MOST_PUBLISHED
    if hidden > 0:
        console.print(f"and {hidden} more: mmrl eval tasks {benchmark.name}", highlight=False)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title or None, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", overflow="fold")
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _samples(count: Any) -> str:
    return f"{count[0]}-{count[1]}" if isinstance(count, list) else str(count)
