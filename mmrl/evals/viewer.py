"""Writes one HTML file to look at an evaluation, or at one run against another: every item with its
media, the responses, and how each became its verdict; to be filtered and searched.

The page opens from a disk and loads nothing from a network. Everything of a record or a response is
escaped, and the page's policy allows no script but its own, by that script's hash.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmrl.errors import ConfigError, RunError
from mmrl.evals.compare import align, compare
from mmrl.evals.finished import Finished, FinishedItem, describe
from mmrl.evals.scoring import headline
from mmrl.evals.viewer_cards import card, outcome
from mmrl.evals.viewer_filters import Marks, mark_card, show_filters
from mmrl.evals.viewer_media import MediaShelf, reread_media
from mmrl.reporting.markup import DOT, text

LIMIT = 1000
"""Items of a page where nobody says otherwise."""

Side = Sequence[FinishedItem]
"""An item as one run has it, or as A and B have it."""


def write_view(
    page: Path,
    run: Finished,
    other: Finished | None = None,
    *,
    data: Mapping[str, str] | None = None,
    limit: int = LIMIT,
) -> int:
    """Write the page; return how many items it shows.

    Args:
        page: The file to write.
        run: The run, A where there are two.
        other: The run to look at beside it.
        data: Where the data of a task lie now, by task.
        limit: Most items; of two runs those come first on which they differ.

    Raises:
        RunError: the runs do not hold the same items, or no items.
        ConfigError: data are given for a task that is not there.
    """
    for name in data or {}:
        if name not in run.tasks:
            raise ConfigError(f"data.{name}: {name!r} is not in {run.path}")
    compared = compare(run, other) if other is not None else None
    everything = list(_sides(run, other))
    if not everything:
        raise RunError(f"{run.path}: holds no items")
    chosen = _choose(run, everything, limit)
    wanted: dict[str, set[str]] = {name: set() for name in run.tasks}
    for name, side in chosen:
        wanted[name].add(side[0].result.item.id)
    shelf = MediaShelf(page=page, known=reread_media(run, data or {}, wanted))
    marks = Marks()
    cards = [
        card(
            name,
            side,
            modes=run.tasks[name].modes,
            media=shelf.show(name, side[0]),
            marks=mark_card(marks, name, side, run.tasks[name].modes),
        )
        for name, side in chosen
    ]
    head = _header(run, other, compared, len(chosen), len(everything))
    html = _page(run, other, head, show_filters(marks, run), "\n".join(cards))
    unfinished = page.with_name(f".{page.name}.{os.getpid()}.tmp")
    unfinished.write_text(html, encoding="utf-8")
    unfinished.replace(page)
    return len(chosen)


def _sides(run: Finished, other: Finished | None) -> Iterator[tuple[str, Side]]:
    for name, task in run.tasks.items():
        if other is None:
            yield from ((name, (item,)) for item in task.items)
        else:
            names = (str(run.path), str(other.path))
            yield from ((name, pair) for pair in align(task, other.tasks[name], names))


def _choose(run: Finished, sides: Sequence[tuple[str, Side]], limit: int) -> list[tuple[str, Side]]:
    """Return the sides that are shown, in their own order."""
    differ = [
        place
        for place, (name, side) in enumerate(sides)
        if len(side) > 1
        and outcome(side, headline(run.tasks[name].modes)) in ("A better", "B better")
    ]
    kept = sorted([*differ, *(set(range(len(sides))) - set(differ))][:limit]) if differ else None
    return [sides[place] for place in kept] if kept is not None else list(sides[:limit])


def _header(
    run: Finished,
    other: Finished | None,
    compared: Mapping[str, Any] | None,
    shown: int,
    total: int,
) -> str:
    name = text(run.path.name or str(run.path), head=80)
    title, kind = name, "mmrl evaluation"
    if other is not None:
        kind = "mmrl evaluation, A against B"
        title = f"{name} <small>against</small> {text(other.path.name, head=80)}"
    facts = (
        "".join(
            f"<p class=facts>{letter}{_facts(one)}</p>"
            for letter, one in zip(("<b>A</b> ", "<b>B</b> "), (run, other), strict=True)
            if other is not None and one is not None
        )
        or f"<p class=facts>{_facts(run)}</p>"
    )
    tiles = _difference_tiles(compared) if compared else _tiles(run)
    partial = ""
    if shown < total:
        partial = (
            f"<p class=warning>{shown:,} of {total:,} items are on this page; limit=N shows more. "
            "The numbers are those of all items.</p>"
        )
    return (
        f"<p class=facts>{kind}</p><h1>{title}</h1>{facts}<div class=tiles>{tiles}</div>{partial}"
    )


def _facts(run: Finished) -> str:
    told = describe(run)
    facts = [f"{word} {told[key]}" for word, key in _TOLD if key in told]
    sampling = [key for key in told if key.endswith((".temperature", ".max_new_tokens"))]
    facts += [f"{key.partition('.')[2]} {told[key]}" for key in sampling[:2]]
    return text(DOT.join([str(run.path), *facts]), head=600)


_TOLD = (
    ("model", "model"),
    ("engine", "engine.name"),
    ("weights", "engine.weights"),
    ("samples", "samples"),
)


def _tiles(run: Finished) -> str:
    tiles = []
    for name, summary in run.described.get("results", {}).items():
        if name not in run.tasks:
            continue
        modes = summary["modes"]
        first = headline(list(modes))
        part = modes[first]
        others = DOT.join(f"{mode} {_percent(modes[mode])}" for mode in modes if mode != first)
        tiles.append(
            _tile(
                name, _percent(part), f"{first}, {_span(part)}", others, f"{summary['n']:,} items"
            )
        )
    return "".join(tiles)


def _difference_tiles(compared: Mapping[str, Any]) -> str:
    tiles = []
    for name, task in compared["tasks"].items():
        first = headline(list(task["modes"]))
        part = task["modes"][first]
        number = f"{100 * part['difference']:+.1f}".replace("-", "\u2212")
        p = "" if part["p"] is None else f"{DOT}p = {part['p']:.2g}"
        span = f"{first}, {100 * part['low']:+.1f} to {100 * part['high']:+.1f}{p}"
        both = f"A {100 * part['a']:.1f}{DOT}B {100 * part['b']:.1f}"
        counts = f"A better on {part['wins']:,}, B on {part['losses']:,} of {task['n']:,}"
        tiles.append(_tile(name, number, span.replace("-", "\u2212"), both, counts, unit="points"))
    return "".join(tiles)


def _tile(name: str, number: str, *lines: str, unit: str = "%") -> str:
    said = "".join(f"<span>{text(line)}</span>" for line in lines if line)
    return (
        f'<div class=tile style="--tint:var(--accent)"><span>{text(name)}</span>'
        f"<b>{number}<small>{unit}</small></b>{said}</div>"
    )


def _percent(part: Mapping[str, Any]) -> str:
    return f"{100 * part['value']:.1f}"


def _span(part: Mapping[str, Any]) -> str:
    return f"95 % {100 * part['low']:.1f} to {100 * part['high']:.1f}"


def _page(run: Finished, other: Finished | None, head: str, filters: str, cards: str) -> str:
    style = "\n".join(
        files(package).joinpath(name).read_text(encoding="utf-8")
        for package, name in (("mmrl.reporting", "report.css"), ("mmrl.evals", "viewer.css"))
    )
    script = files("mmrl.evals").joinpath("viewer.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "img-src 'self' file: data:; media-src 'self' file: data:; base-uri 'none'; "
        "form-action 'none'"
    )
    names = [one.path.name for one in (run, other) if one is not None]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(' against '.join(names))} \u00b7 mmrl</title>\n"
        f"<style>\n{style}</style></head>\n"
        f'<body class="{"pair" if other else "single"}"><header class=top>{head}</header>\n'
        f"{filters}\n"
        f"<main>\n{cards}\n</main>\n<p id=none class=caption hidden>No item fits.</p>\n"
        f"<script>{script}</script></body></html>\n"
    )
