"""Draws what a mixture was predicted to score against what it scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 420


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicted:
    """A mixture that was measured, and what the surface says of it."""

    name: str
    truth: float
    prediction: float
    seen: bool
    """Whether the surface was fitted to it."""


def draw_prediction(points: Sequence[Predicted]) -> str:
    """An SVG picture of predictions over true scores; on the line both are the same."""
    import altair
    import vl_convert

    values = [value for point in points for value in (point.truth, point.prediction)]
    room = 0.05 * (max(values) - min(values)) or 0.05
    domain = [min(values) - room, max(values) + room]
    scale = altair.Scale(domain=domain, nice=False)
    data = altair.InlineData(
        values=[
            {
                "name": point.name,
                "x": point.truth,
                "y": point.prediction,
                "fit": "fitted to" if point.seen else "held back",
            }
            for point in points
        ]
    )
    base = altair.Chart(data).encode(
        x=altair.X("x:Q", title="score", scale=scale),
        y=altair.Y("y:Q", title="predicted score", scale=scale),
    )
    dots = base.mark_circle(size=60, opacity=1).encode(
        color=altair.Color(
            "fit:N",
            title=None,
            scale=altair.Scale(domain=["fitted to", "held back"], range=["#4c78a8", "#e45756"]),
        )
    )
    names = base.mark_text(align="left", dx=7, fontSize=10).encode(text="name:N")
    ends = altair.InlineData(values=[{"x": end, "y": end} for end in domain])
    line = altair.Chart(ends).encode(x=altair.X("x:Q", scale=scale), y=altair.Y("y:Q", scale=scale))
    chart = altair.layer(line.mark_line(color="#bbbbbb", strokeDash=[4, 3]), dots, names)
    sized = chart.properties(width=WIDTH, height=WIDTH, background="white", padding=12)
    return vl_convert.vegalite_to_svg(sized.to_dict())
