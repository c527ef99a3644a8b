"""How difficulties are spread: in a terminal, and as a page that needs no network and no script."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmrl.selection.scored import Scored

BINS = 10
_WIDTH = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """Rows with a difficulty from `low` to below `high`; the last one includes its end."""

    low: float
    high: float
    selected: int
    others: int


def bins_of(scored: Sequence[Scored], count: int = BINS) -> list[Bin]:
    """Sort rows into bins of equal width, from 0 (or lower, if need be) to 1 (or higher)."""
    values = [one.difficulty for one in scored]
    low = min(0.0, math.floor(min(values, default=0.0)))
    high = max(1.0, math.ceil(max(values, default=1.0)))
    found = [[0, 0] for _ in range(count)]
    for one in scored:
        place = min(count - 1, int((one.difficulty - low) / (high - low) * count))
        found[place][bool(one.reason)] += 1
    step = (high - low) / count
    return [
        Bin(low=low + place * step, high=low + (place + 1) * step, selected=kept, others=left)
        for place, (kept, left) in enumerate(found)
    ]


def as_lines(bins: Sequence[Bin]) -> list[str]:
    """Draw the bins with characters, one line each: selected rows solid, the others light.

    >>> as_lines([Bin(low=0, high=0.5, selected=1, others=0)])
    ['0.00 - 0.50  ████████████████████████████████████████ 1 of 1']
    """
    most = max((one.selected + one.others for one in bins), default=0) or 1
    lines = []
    for one in bins:
        total = one.selected + one.others
        solid = round(_WIDTH * one.selected / most)
        light = round(_WIDTH * total / most) - solid
        bar = "█" * solid + "░" * light
        counted = f"{one.selected} of {total}" if total else "0"
        lines.append(f"{one.low:.2f} - {one.high:.2f}  {bar:<{_WIDTH}} {counted}")
    return lines


def as_page(bins: Sequence[Bin], *, title: str, told: Sequence[str]) -> str:
    """Return an HTML page with the bins and some lines of text."""
    items = "".join(f"<p>{html.escape(line)}</p>" for line in told)
    shown = html.escape(title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{shown}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{shown}</h1>{items}<figure>{_svg(bins)}<figcaption>Rows by difficulty: "
        "<b class=kept>selected</b>, <b class=left>not selected</b></figcaption></figure>"
        "</body></html>\n"
    )


_STYLE = (
    ":root { color-scheme: light dark; --kept: #2f6fde; --left: #9aa4b2; } "
    "body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 46rem; "
    "padding: 0 1rem; } h1 { font-size: 1.3rem; } p { margin: .2rem 0; } "
    "figure { margin: 1.5rem 0; } figure svg { width: 100%; } "
    ".kept { color: var(--kept); } .left { color: var(--left); }"
)


def _svg(bins: Sequence[Bin]) -> str:
    import altair
    import vl_convert

    values = [
        {"low": one.low, "high": one.high, "rows": rows, "kind": kind, "order": order}
        for one in bins
        for order, (kind, rows) in enumerate((("kept", one.selected), ("left", one.others)))
    ]
    colours = altair.Scale(domain=["kept", "left"], range=["var(--kept)", "var(--left)"])
    chart = (
        altair.Chart(altair.InlineData(values=values))
        .mark_bar()
        .encode(
            x=altair.X("low:Q", bin="binned", title="difficulty"),
            x2="high:Q",
            y=altair.Y("rows:Q", title="rows", stack=True),
            color=altair.Color("kind:N", scale=colours, legend=None),
            order="order:Q",
        )
        .properties(width=640, height=260, background="transparent")
        .configure(font="system-ui, sans-serif", aria=False)
        .configure_view(stroke=None)
        .configure_axis(labelColor="currentColor", titleColor="currentColor", gridOpacity=0.2)
    )
    return vl_convert.vegalite_to_svg(chart.to_dict())
