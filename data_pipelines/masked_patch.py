"""Masked patch: which of several patches belongs where the picture is covered.

The reconstruction of a hidden patch as a question with options, after the masked prediction of
SSL4RL (arXiv 2510.16416). All options are patches of the same picture, cut from the same grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_pipelines._pictures import Size, cut, image_part, open_picture, paste, thumbnail
from data_pipelines._pictures import unlikeness as distance
from data_pipelines._pretext import ENDING, Count, Difficulty, drawn, row, stream
from mmrl.data.folder import SourceFile, left_out
from mmrl.data.pipelines import medium_pipeline

LETTERS = "ABCDEFGH"

_ALIKE = 4.0
"""Levels of 256: patches that differ by less would both be right."""
_GREY = 127


@medium_pipeline("image")
def masked_patch(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.3,
    options: Annotated[int, Field(ge=2, le=8)] = 4,
    grid: Annotated[int, Field(ge=3, le=8)] = 4,
    size: Size = 448,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Choose the patch that belongs where a picture is covered.

    Args:
        source: The picture.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; the wrong patches are from the least (easy) to the most
            (hard) like the right one.
        options: How many patches there are to choose from.
        grid: Rows and columns into which the picture is cut; one patch is covered.
        size: Pixels on the longer side of the picture; smaller ones are not enlarged.
        count: Questions per picture.
        ending: The last words of the prompt.
    """
    patches = cut(open_picture(source, size), grid, grid)
    if patches is None:
        raise left_out(source.path, f"it is too small for {grid} x {grid} patches")
    looks = [thumbnail(patch) for patch in patches]
    for number in range(count):
        rng = stream("masked_patch", source, seed, number)
        level = drawn(difficulty, rng)
        hidden, others = _choice(source, looks, options - 1, level, rng)
        shown = rng.sample([hidden, *others], options)
        covered = [
            np.full_like(patches[0], _GREY) if i == hidden else p for i, p in enumerate(patches)
        ]
        letters = LETTERS[:options]
        parts: list[Any] = [
            image_part(folder, paste(covered, grid)),
            "One patch is covered in grey.",
        ]
        for letter, place in zip(letters, shown, strict=True):
            parts += [f"{letter}:", image_part(folder, patches[place])]
        text = "Which of these patches belongs there? Answer with its letter."
        yield row(
            "masked_patch",
            source,
            number,
            seed=seed,
            parts=[*parts, f"{text} {ending}".strip()],
            answer=letters[shown.index(hidden)],
            verifier="choice",
            params={"letters": letters},
            difficulty=level,
        )


def _choice(
    source: SourceFile, looks: list[np.ndarray], wrong: int, level: float, rng: Random
) -> tuple[int, list[int]]:
    """Return a patch to hide and as many others that differ from it and from each other."""
    places = list(range(len(looks)))
    for hidden in rng.sample(places, len(places)):
        apart = {
            place: distance(looks[hidden], looks[place]) for place in places if place != hidden
        }
        ranked = sorted((p for p in apart if apart[p] >= _ALIKE), key=lambda p: -apart[p])
        start = round(level * max(0, len(ranked) - wrong))
        chosen: list[int] = []
        for place in [*ranked[start:], *reversed(ranked[:start])]:
            if all(distance(looks[place], looks[other]) >= _ALIKE for other in chosen):
                chosen.append(place)
            if len(chosen) == wrong:
                return hidden, chosen
    raise left_out(source.path, f"fewer than {wrong + 1} of its patches differ from each other")
