"""Draws curves as SVG for the report.

Colours are CSS variables of the page, so that one drawing serves light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmrl.reporting.curves import Point, smooth

_FONT = "system-ui, sans-serif"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A curve in one colour."""

    points: Sequence[Point]
    colour: str
    dotted: bool = False
    """Every point counts (an evaluation): a dot on each, and no smoothing."""


def draw(
    lines: Sequence[Line],
    *,
    width: int,
    height: int,
    steps: tuple[float, float],
    share: bool = False,
    borders: Sequence[float] = (),
) -> str:
    """An SVG element with the lines over steps.

    Args:
        lines: At least one, with at least one point.
        width: Of the plot, in its own units; the page scales it.
        height: Likewise.
        steps: The first and the last step of the axis.
        share: The values are shares: the axis runs from 0 to 100 %.
        borders: Steps at which a new stage begins.
    """
    import altair
    import vl_convert

    x = altair.X(
        "x:Q",
        title=None,
        scale=altair.Scale(domain=list(steps), nice=False),
        axis=altair.Axis(tickCount=max(2, width // 80), format=_step_format(steps[1]), grid=False),
    )
    values = [value for line in lines for _, value in line.points]
    scale = _scale(altair, values, share)
    y = altair.Y("y:Q", title=None, scale=scale, axis=_axis(altair, values, share, height))
    layers = [_borders(altair, borders)] if borders else []
    layers += [layer for line in lines for layer in _layers(altair, line, x, y)]
    chart = altair.layer(*layers).properties(
        width=width, height=height, background="transparent", padding=4
    )
    return _plain(vl_convert.vegalite_to_svg(_configure(chart).to_dict()))


def _layers(altair: Any, line: Line, x: Any, y: Any) -> list[Any]:
    smoothed = [] if line.dotted else smooth(list(line.points))
    raw = altair.Chart(_data(altair, line.points)).encode(x=x, y=y)
    drawn = [
        raw.mark_line(
            color=line.colour,
            strokeWidth=0.9 if smoothed else 1.8,
            opacity=0.4 if smoothed else 1,
            strokeJoin="round",
        )
    ]
    if smoothed:
        top = altair.Chart(_data(altair, smoothed)).encode(x=x, y=y)
        drawn.append(top.mark_line(color=line.colour, strokeWidth=2, strokeJoin="round"))
    if line.dotted or len(line.points) == 1:
        size = 26 if len(line.points) < 60 else 8
        drawn.append(raw.mark_circle(color=line.colour, size=size, opacity=1))
    return drawn


def _borders(altair: Any, borders: Sequence[float]) -> Any:
    rules = altair.Chart(_data(altair, [(step, 0.0) for step in borders])).encode(x="x:Q")
    return rules.mark_rule(color="var(--muted)", strokeDash=[2, 3], strokeWidth=1)


def _data(altair: Any, points: Sequence[Point]) -> Any:
    return altair.InlineData(values=[{"x": step, "y": value} for step, value in points])


def _scale(altair: Any, values: Sequence[float], share: bool) -> Any:
    if share:
        return altair.Scale(domain=[0, 1])
    low, high = min(values), max(values)
    if high - low > 1e-3 * max(abs(low), abs(high)):
        return altair.Scale(zero=False, nice=True)
    # What does not change would be stretched until its rounding errors show.
    room = 0.5 * abs(high) or 1.0
    return altair.Scale(domain=[low - room, high + room])


def _axis(altair: Any, values: Sequence[float], share: bool, height: int) -> Any:
    count = 4 if height > 120 else 2
    if share:
        values = [0, 0.25, 0.5, 0.75, 1] if count == 4 else [0, 0.5, 1]
        return altair.Axis(values=values, format=".0%", minExtent=30)
    largest = max(map(abs, values))
    form = "~s" if largest >= 1000 or 0 < largest < 1e-3 else ".4~f"
    return altair.Axis(tickCount=count, format=form, minExtent=30)


def _step_format(last: float) -> str:
    return "~s" if last >= 10_000 else "d"


def _configure(chart: Any) -> Any:
    return (
        chart.configure(font=_FONT, aria=False)
        .configure_view(stroke=None)
        .configure_axis(
            domain=False,
            ticks=False,
            gridColor="var(--line)",
            labelColor="var(--muted)",
            labelFontSize=10.5,
            labelPadding=6,
            labelFlush=False,
        )
    )


def _plain(svg: str) -> str:
    """The drawing without its fixed size; what it shows is said by the figure around it."""
    head, rest = svg.split(">", 1)
    box = head[head.index("viewBox=") :].split('"')[1]
    return f'<svg viewBox="{box}" aria-hidden="true">{rest}'
