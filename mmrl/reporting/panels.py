"""The learning curves of the report as HTML, for each kind of stage that ran."""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.reporting.charts import Line, draw
from mmrl.reporting.curves import Curves, Point, ends
from mmrl.reporting.markup import colour, text

MOST_SOURCES = 24
"""Panels of single sources; a run with more says how many are left out."""

_TITLES = {
    "sft": "Supervised stages",
    "grpo": "Reinforcement learning",
}
_SHARES = {
    "group/zero_spread_frac": "Zero spread",
    "completion/cut_frac": "Cut at the limit",
    "policy/clip_frac": "Tokens clipped",
    "reward/unjudged_frac": "Not judged",
}
_AMOUNTS = {
    "completion/length": "Length, tokens",
    "policy/entropy": "Entropy",
    "policy/kl": "KL",
    "optim/grad_norm": "Gradient norm",
}
_CURRICULUM = ("sampler/", "mixture/", "weight/", "filter/")
"""What a curriculum moves: each metric under these names has a panel."""
_OPTIONAL = ("completion/cut_frac", "policy/clip_frac", "reward/unjudged_frac", "policy/kl")
"""Shown only where they are ever not 0."""


def curves_section(curves: Curves, modalities: dict[str, str]) -> str:
    """All panels of one kind of stage.

    Args:
        curves: With at least one step.
        modalities: Of each source: its modality, where it is known; it gives the colour.
    """
    panels = _sft_panels(curves) if curves.kind == "sft" else _grpo_panels(curves)
    panels += _heldout_panel(curves)
    parts = [f"<h3>{_TITLES[curves.kind]}{_note(curves)}</h3>", _grid(panels, "wide")]
    if curves.kind == "grpo":
        parts += [
            _source_panels(curves, modalities),
            _curriculum_panels(curves),
            _health_panels(curves),
        ]
    return "".join(parts)


def _note(curves: Curves) -> str:
    borders = list(curves.offsets.items())[1:]
    facts = [f"{text(stage)} begins at step {offset:,}" for stage, offset in borders]
    if curves.width > 1:
        facts.append(f"each point is the mean of {curves.width:,} steps")
    return f" <small>{'; '.join(facts)}</small>" if facts else ""


def _sft_panels(curves: Curves) -> list[str]:
    return [_panel(curves, "Loss", curves.points("policy/loss"), wide=True)]


def _grpo_panels(curves: Curves) -> list[str]:
    return [_panel(curves, "Reward in training", curves.points("reward/mean"), wide=True)]


def _heldout_panel(curves: Curves) -> list[str]:
    lines = [
        Line(points=_thin(points), colour=colour(modality), dotted=True)
        for modality, points in curves.heldout.items()
    ]
    if not any(len(line.points) > 1 for line in lines):
        return []
    keys = "".join(
        f'<span style="--tint:{colour(modality)}"><i></i>{text(modality)}</span>'
        for modality in curves.heldout
    )
    title = f"Held-out accuracy <span class=legend>{keys}</span>"
    told = ", ".join(
        f"{name} {_told(points, share=True)}" for name, points in curves.heldout.items()
    )
    return [
        _figure(
            title,
            "",
            f"held-out accuracy by step: {told}",
            _draw(curves, lines, wide=True, share=True),
        )
    ]


def _thin(points: Sequence[Point], most: int = 400) -> Sequence[Point]:
    """Every n-th evaluation, the last one included."""
    every = -(-len(points) // most)
    return [point for place, point in enumerate(points) if (len(points) - 1 - place) % every == 0]


def _source_panels(curves: Curves, modalities: dict[str, str]) -> str:
    sources = [
        key.split("/")[1] if key.count("/") == 2 else key[len("source/") : -len("/accuracy")]
        for key in curves.by_metric
        if key.startswith("source/") and key.endswith("/accuracy")
    ]
    if not sources:
        return ""
    sources.sort(key=lambda source: (modalities.get(source, "~"), source))
    panels = [
        _panel(
            curves,
            source,
            curves.points(f"source/{source}/accuracy"),
            share=True,
            tint=colour(modalities.get(source)),
        )
        for source in sources[:MOST_SOURCES]
    ]
    left = len(sources) - MOST_SOURCES
    more = f" <small>{left} more sources are in metrics.jsonl</small>" if left > 0 else ""
    return f"<h4>Accuracy in training, by source{more}</h4>{_grid(panels, 'small')}"


def _curriculum_panels(curves: Curves) -> str:
    panels = [
        _panel(curves, metric, curves.points(metric), share=metric.startswith("mixture/"))
        for metric in curves.by_metric
        if metric.startswith(_CURRICULUM)
    ]
    return f"<h4>What the curriculum moved</h4>{_grid(panels, 'small')}" if panels else ""


def _health_panels(curves: Curves) -> str:
    terms = [
        (metric, f"Term: {metric.removeprefix('reward/')}")
        for metric in sorted(curves.by_metric)
        if metric.startswith("reward/") and metric not in ("reward/mean", "reward/unjudged_frac")
    ]
    panels = []
    for metric, title in [*terms, *_SHARES.items(), *_AMOUNTS.items()]:
        points = curves.points(metric)
        if points and (metric not in _OPTIONAL or any(value for _, value in points)):
            panels.append(_panel(curves, title, points, share=metric in _SHARES))
    return (
        f"<h4>Reward terms, and how the policy fares</h4>{_grid(panels, 'small')}" if panels else ""
    )


def _panel(
    curves: Curves,
    title: str,
    points: list[Point],
    *,
    wide: bool = False,
    share: bool = False,
    tint: str = "var(--accent)",
) -> str:
    if not points:
        return ""
    told = _told(points, share=share)
    drawing = _draw(curves, [Line(points=points, colour=tint)], wide=wide, share=share)
    return _figure(text(title, head=60), told, f"{title}: {told}", drawing)


def _draw(curves: Curves, lines: Sequence[Line], *, wide: bool, share: bool) -> str:
    width, height = (470, 190) if wide else (250, 92)
    borders = list(curves.offsets.values())[1:]
    steps = (0, curves.last)
    return draw(lines, width=width, height=height, steps=steps, share=share, borders=borders)


def _told(points: Sequence[Point], *, share: bool) -> str:
    """Where the curve comes from and where it arrives."""
    first, last = ends(list(points))
    largest = max(abs(first), abs(last))
    form = "{:,.0f}" if largest >= 1000 else "{:.3g}" if largest >= 0.01 else "{:.1g}"
    form = "{:.0%}" if share else form
    return (
        f"{form.format(first)} \u2192 {form.format(last)}" if len(points) > 1 else form.format(last)
    )


def _figure(title: str, told: str, label: str, drawing: str) -> str:
    return (
        f'<figure role=img aria-label="{text(label)}">'
        f"<figcaption><b>{title}</b><span>{told}</span></figcaption>{drawing}</figure>"
    )


def _grid(panels: Sequence[str], css: str) -> str:
    shown = "".join(panels)
    return f'<div class="panels {css}">{shown}</div>' if shown else ""
