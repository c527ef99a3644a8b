"""Jigsaw of a picture: the whole order of its pieces, or how two of them lie to each other.

After Jigsaw-R1 (arXiv 2505.23590). The picture is cut into m x n equal pieces, which are put back
in another order. `full` asks for each place which place its piece came from; `pair` names two
places and asks with a letter how their pieces lie to each other in the original.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from data_pipelines._pictures import (
    Size,
    cut,
    image_part,
    open_picture,
    paste,
    thumbnail,
    unlikeness,
)
from data_pipelines._pretext import (
    ENDING,
    Count,
    Difficulty,
    Share,
    band,
    drawn,
    row,
    stream,
)
from mmrl.data.folder import SourceFile, left_out
from mmrl.data.pipelines import medium_pipeline
from mmrl.errors import ConfigError

Side = Annotated[int, Field(ge=1, le=8)]

GRIDS = (((1, 2), (2, 1)), ((2, 2),), ((2, 3), (3, 2)), ((3, 3),), ((3, 4), (4, 3)), ((4, 4),))
"""Rows and columns, from easy to hard."""

_ALIKE = 2.0
"""Levels of 256: pieces that differ by less cannot be told apart."""
_GREY = 127


@medium_pipeline("image")
def jigsaw(
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    difficulty: Difficulty = 0.3,
    grid: tuple[Side, Side] | None = None,
    question: Literal["full", "pair"] = "full",
    border: Share = 0.0,
    size: Size = 448,
    count: Count = 1,
    ending: str = ENDING,
) -> Iterator[dict[str, Any]]:
    """Put the pieces of a picture back in order, or say how two of them lie to each other.

    Args:
        source: The picture.
        folder: Where media are written.
        seed: The build's seed.
        difficulty: 0 to 1, or a range; chooses the grid, from two pieces to 4 x 4.
        grid: Rows and columns, instead of what the difficulty chooses; the rows' difficulty then
            follows from the number of pieces.
        question: `full` for the whole order, `pair` for a letter.
        border: Share of each piece's sides that is painted grey, so that edges cannot be matched.
        size: Pixels on the longer side; smaller pictures are not enlarged.
        count: Questions per picture.
        ending: The last words of the prompt.
    """
    pixels = open_picture(source, size)
    for number in range(count):
        rng = stream("jigsaw", source, seed, number)
        level = drawn(difficulty, rng) if grid is None else _level(grid)
        rows, columns = grid or rng.choice(GRIDS[band(level, len(GRIDS))])
        pieces = _pieces(source, pixels, rows, columns, border)
        order = rng.sample(range(len(pieces)), len(pieces))
        shown = paste([pieces[origin] for origin in order], columns)
        ask = _full if question == "full" else _pair
        text, answer = ask(rng, order, rows, columns)
        yield row(
            "jigsaw",
            source,
            number,
            seed=seed,
            parts=[image_part(folder, shown), f"{_cut_up(rows, columns)} {text} {ending}".strip()],
            answer=answer,
            verifier="jigsaw",
            params={"question": question},
            difficulty=level,
            extra={"rows": rows, "columns": columns},
        )


def _level(grid: tuple[int, int]) -> float:
    """Return the middle of the step of difficulty to which so many pieces belong."""
    pieces = grid[0] * grid[1]
    if pieces < 2:
        raise ConfigError("grid: one piece is no jigsaw; give for example grid=[2,2]")
    places = [index for index, grids in enumerate(GRIDS) if pieces >= grids[0][0] * grids[0][1]]
    return round((places[-1] + 0.5) / len(GRIDS), 2)


def _pieces(
    source: SourceFile, pixels: np.ndarray, rows: int, columns: int, border: float
) -> list[np.ndarray]:
    pieces = cut(pixels, rows, columns)
    if pieces is None:
        height, width = pixels.shape[:2]
        reason = f"{width} x {height} pixels are too few for {rows} x {columns} pieces"
        raise left_out(source.path, reason)
    looks = [thumbnail(piece) for piece in pieces]
    if any(unlikeness(one, other) < _ALIKE for one, other in itertools.combinations(looks, 2)):
        raise left_out(source.path, f"two of its {rows} x {columns} pieces look alike")
    return [_framed(piece, border) for piece in pieces] if border else pieces


def _framed(piece: np.ndarray, border: float) -> np.ndarray:
    framed = np.full_like(piece, _GREY)
    height, width = piece.shape[:2]
    # At least a quarter of each side is left to look at.
    top, left = (min(round(side * border / 2), side * 3 // 8) for side in (height, width))
    framed[top : height - top, left : width - left] = piece[top : height - top, left : width - left]
    return framed


def _cut_up(rows: int, columns: int) -> str:
    return (
        f"The picture was cut into {_counted(rows, 'row')} and {_counted(columns, 'column')} of "
        f"equal pieces, and the pieces were put back in another order. Its places are numbered "
        f"from 1 to {rows * columns}, row by row from the top left."
    )


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'s' if count > 1 else ''}"


def _full(rng: Random, order: list[int], rows: int, columns: int) -> tuple[str, list[list[int]]]:
    text = (
        "For each place, in this order, which place did its piece have in the original picture? "
        f"Answer with {len(order)} numbers, {_counted(columns, 'number')} in each of "
        f"{_counted(rows, 'row')}."
    )
    origins = [origin + 1 for origin in order]
    return text, [origins[start : start + columns] for start in range(0, len(origins), columns)]


def _pair(rng: Random, order: list[int], rows: int, columns: int) -> tuple[str, str]:
    first, second = rng.sample(range(len(order)), 2)
    (y, x), (other_y, other_x) = (divmod(order[place], columns) for place in (first, second))
    words = _relations(rows, columns)
    relation = (_sign(y - other_y), _sign(x - other_x))
    letters = "ABCDEFGH"[: len(words)]
    options = " ".join(f"{letter}. {word}" for letter, word in zip(letters, words, strict=True))
    text = (
        f"In the original picture, where was the piece that is now at place {first + 1}, seen from "
        f"the piece that is now at place {second + 1}? {options} Answer with the letter."
    )
    return text, letters[words.index(_WORDS[relation])]


def _relations(rows: int, columns: int) -> list[str]:
    """Return the relations that two pieces of such a grid can have."""
    return [
        word
        for (down, right), word in _WORDS.items()
        if (rows > 1 or down == 0) and (columns > 1 or right == 0)
    ]


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


_WORDS = {
    (0, -1): "left",
    (0, 1): "right",
    (-1, 0): "above",
    (1, 0): "below",
    (-1, -1): "above and left",
    (-1, 1): "above and right",
    (1, -1): "below and left",
    (1, 1): "below and right",
}
