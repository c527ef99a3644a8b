"""A few made-up rows of each kind of question and answer that published recipes train on.

`mmrl data build smoke out=DIR form=choice media=video count=8`

Smoke forms of curricula run on them; see docs/systems.md. Nothing can be learned about a recipe's
quality from such rows, only whether its parts work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_pipelines._forms import Form, Media, Trace, base_task, recast, write_trace, written
from data_pipelines.synthetic import synthetic
from data_pipelines.synthetic_drawing import landscape
from mmrl.answer import BadGold, extract
from mmrl.data.pipelines import Split, find_pipeline, pipeline
from mmrl.data.rows import parse_rows
from mmrl.errors import ConfigError, DataError
from mmrl.media.writers import write_mp4, write_png
from mmrl.reward import gold_text


@pipeline
def smoke(
    folder: Path,
    *,
    seed: int,
    split: Split,
    form: Form | None = None,
    pretext: str | None = None,
    params: dict[str, Any] | None = None,
    media: Media = "image",
    trace: Trace = "think",
    empty_thoughts: Annotated[float, Field(ge=0, le=1)] = 0.0,
    name: str | None = None,
    verifier: dict[str, Any] | None = None,
    count: Annotated[int, Field(ge=1, le=1000)] = 8,
) -> Iterator[dict[str, Any]]:
    """Make up a few rows of a form of question, or of a pretext task on drawn media.

    Args:
        folder: Where media are written.
        seed: Of the rows.
        split: Rows of the two splits have different streams.
        form: What is asked and how it is answered.
        pretext: Instead of a form, a pipeline that makes questions of a folder of media.
        params: Its parameters.
        media: What is asked about: drawn pictures, drawn videos or generated sounds.
        trace: How responses are written.
        empty_thoughts: The share of responses whose thought is left empty (TON's thought dropout).
        name: The rows' source; the form or the pretext task if not given.
        verifier: Who judges, instead of the form's own: `{name: NAME, params: {...}}`.
        count: Rows, or files of drawn media for a pretext task.
    """
    if (form is None) == (pretext is None):
        raise ConfigError("pipeline 'smoke': give either 'form' or 'pretext', not both or neither")
    if form is not None:
        made = _asked(folder, form, media, seed=seed, split=split, count=count)
    else:
        made = _pretext(folder, str(pretext), params or {}, media, seed=seed, count=count)
    name = name or form or str(pretext)
    rng = Random(f"{name}/{split}/{seed}/responses")
    for number, raw in enumerate(made):
        row = {**raw, "id": f"{name}-{split}-{seed}-{number}", "source": name}
        row["verifier"] = verifier or row["verifier"]
        row["difficulty"] = round((number + 1) / (count + 1), 3)
        empty = rng.random() < empty_thoughts
        response = _response(row, folder, trace, empty=empty)
        extra = {**raw.get("extra", {}), "hints": [*_HINTS, response]}
        yield {**row, "response": response, "extra": extra}


_HINTS = ("Look closely.", "Name what is there.", "Answer in tags.", "Begin with the tag think.")
"""From the least help to the most; the whole solution follows (Keye-VL 1.5's five levels)."""


def _asked(
    folder: Path, form: Form, media: Media, *, seed: int, split: Split, count: int
) -> Iterator[dict[str, Any]]:
    task = base_task(form, media)
    rows = synthetic(folder, seed=seed, split=split, tasks={task: count}, difficulty=0.0)
    sounds = (
        synthetic(folder, seed=seed, split=split, tasks={"pitch": count}, difficulty=0.0)
        if form == "video_audio"
        else None
    )
    kind: Media = "video" if form == "video_audio" else media
    for raw in rows:
        row = recast(dict(raw), form, kind, Random(f"{form}/{raw['id']}"))
        if sounds is not None:
            row["prompt"][0]["content"].insert(1, next(sounds)["prompt"][0]["content"][0])
        yield row


def _pretext(
    folder: Path, task: str, params: dict[str, Any], media: Media, *, seed: int, count: int
) -> Iterator[dict[str, Any]]:
    raw = folder / "drawn"
    raw.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = Random(f"drawn/{seed}/{number}")
        if media == "video":
            write_mp4(raw / f"{number}.mp4", _clip(rng), fps=8)
        else:
            write_png(raw / f"{number}.png", landscape(224, rng, clutter=0.5))
    given = {"in": raw, "workers": 1, **params}
    for row in find_pipeline(task).build(folder, seed=seed, split="train", **given):
        if isinstance(row, DataError):
            raise row
        yield dict(row)


def _clip(rng: Random, frames: int = 96, size: int = 112) -> np.ndarray:
    """Pan over a landscape, over which a bar grows as time goes by."""
    wide = landscape(size + frames, rng, clutter=0.5)
    top = rng.randint(0, frames)
    shown = []
    for index in range(frames):
        frame = wide[top : top + size, index : index + size].copy()
        frame[: size // 8] = 0
        frame[: size // 8, : round(size * (index + 1) / frames)] = 255
        shown.append(frame)
    return np.stack(shown)


def _response(raw: dict[str, Any], folder: Path, kind: Trace, *, empty: bool) -> str:
    """Write a right response as the row's verifier wants the answer written."""
    (row,) = parse_rows([(raw["id"], {**raw, "response": None})], folder=folder, name="smoke")
    try:
        whole = gold_text(row, row.verifier[0])
    except BadGold:
        whole = written(raw["answer"])
    found = extract(whole)
    answer = _WHOLE.sub("", whole if found is None else found)
    thought = f"so {answer}" if len(answer) < 12 else "so"
    return write_trace(kind, "" if empty else thought, answer)


_WHOLE = re.compile(r"(?<=\d)\.0(?!\d)")
"""What is left out of whole numbers: fewer tokens to learn."""
