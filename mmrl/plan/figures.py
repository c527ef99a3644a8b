"""Draws the figure of docs/cost_model.md: what `python -m mmrl.plan.check --out FILE` measured
beside what was predicted, and the predicted step of a 7B model by phase and kind of sharing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

_STEP = (
    "stage=geometry3k model=qwen2_5_vl_7b launch=node8 rollout.prompts_per_step=512 "
    "rollout.group_size=8 optim.micro_tokens=16384 --text-tokens 128 --completion-tokens 300"
)
_PROMPTS = {
    "a picture (521 tokens)": "rollout.max_batch=128 --image 640x480",
    "a video (7,690 tokens)": "rollout.max_batch=32 media.video_max_pixels=200704 "
    "--video 640x360x30",
}
_ORDER = ("rollout", "forward", "backward", "optimizer")


@click.command()
@click.argument("measured", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
def main(measured: Path, out: Path) -> None:
    """Draw MEASURED, the lines that the check wrote, into the PNG file OUT."""
    import altair
    import vl_convert

    pairs = [json.loads(line) for line in measured.read_text().splitlines()]
    chart = altair.hconcat(_checked(altair, pairs), _predicted(altair), spacing=40)
    chart = chart.resolve_scale(color="independent", shape="independent")
    chart = chart.configure(font="sans-serif").configure_view(stroke=None)
    out.write_bytes(vl_convert.vegalite_to_png(chart.to_dict(), scale=1.25))


def _checked(altair: Any, pairs: Iterable[dict[str, Any]]) -> Any:
    names = {"rollout": "rollout", "scoring_backward": "scoring + backward", "step": "whole step"}
    points = [
        {
            "predicted": pair["predicted"][key],
            "measured": pair["measured"][key],
            "phase": name,
            "sharing": pair["sharing"],
        }
        for pair in pairs
        for key, name in names.items()
    ]
    values = [point[side] for point in points for side in ("predicted", "measured")]
    ends = [{"x": value, "y": value} for value in (min(values) * 0.8, max(values) * 1.25)]
    scale = altair.Scale(type="log", domain=[end["x"] for end in ends], nice=False)
    equal = altair.Chart(altair.InlineData(values=ends)).mark_line(color="#999", strokeDash=[4, 3])
    dots = altair.Chart(altair.InlineData(values=points)).mark_point(size=70, filled=True)
    return altair.layer(
        equal.encode(x=altair.X("x:Q", scale=scale), y=altair.Y("y:Q", scale=scale)),
        dots.encode(
            x=altair.X("predicted:Q", title="predicted, s", scale=scale),
            y=altair.Y("measured:Q", title="measured, s", scale=scale),
            color=altair.Color("phase:N", title=None),
            shape=altair.Shape("sharing:N", title="sharing"),
        ),
    ).properties(width=300, height=300, title="One CPU thread: predicted and measured")


def _predicted(altair: Any) -> Any:
    bars = [
        {"prompt": prompt, "sharing": sharing, "phase": phase, "seconds": seconds}
        for prompt, options in _PROMPTS.items()
        for sharing in ("none", "encoder", "packed")
        for phase, seconds in _phases(f"{_STEP} {options} model.sharing={sharing}").items()
    ]
    chart = altair.Chart(altair.InlineData(values=bars)).mark_bar()
    return (
        chart.encode(
            x=altair.X("sharing:N", sort=["none", "encoder", "packed"], title=None),
            y=altair.Y("sum(seconds):Q", title="seconds"),
            color=altair.Color("phase:N", sort=list(_ORDER), title=None),
            column=altair.Column("prompt:N", title=None),
        )
        .properties(width=150, height=300, title="7B on 8 x H100, engine vllm: predicted")
        .resolve_scale(y="independent")
    )


def _phases(arguments: str) -> dict[str, float]:
    """Seconds of the step that `mmrl plan` prints for the arguments."""
    from click.testing import CliRunner

    from mmrl.cli import cli

    words = ["plan", *arguments.split(), "--engine", "vllm", "--json"]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    (plan,) = json.loads(result.stdout).values()
    found: dict[str, float] = dict.fromkeys(_ORDER, 0.0)
    for name, phase in plan["phases"].items():
        found[name.partition(":")[0]] += phase["seconds"]
    return found


if __name__ == "__main__":
    main()
