"""Questions on drawn pictures: colour, shape, count, jigsaw, rotation, box; no pipeline."""

from __future__ import annotations

import itertools
import math
from random import Random

import numpy as np

from data_pipelines.synthetic_drawing import (
    COLOURS,
    SHAPES,
    Canvas,
    colours,
    jittered,
    landscape,
    paper,
)
from data_pipelines.synthetic_question import Question, Settings, Task

TURNS = (0, 90, 180, 270)


def colour(rng: Random, settings: Settings) -> Question:
    """Make: which colour has the shape? Among 3 (easy) to 8 colours."""
    names = colours(settings.difficulty)
    answer = rng.choice(names)
    canvas = Canvas(settings.image_size, paper(rng))
    _put(canvas, rng, settings, name=rng.choice(SHAPES[:3]), colour=answer)
    return Question(
        medium=_pixels(canvas, rng, settings), answer=answer, evidence=f"it is {answer}"
    )


def shape(rng: Random, settings: Settings) -> Question:
    """Make: which shape is it? Among 3 (easy) to 6 shapes, in 3 to 8 colours, turned a little."""
    answer = rng.choice(SHAPES[: 3 + round(3 * settings.difficulty)])
    canvas = Canvas(settings.image_size, paper(rng))
    _put(canvas, rng, settings, name=answer, colour=rng.choice(colours(settings.difficulty)))
    return Question(
        medium=_pixels(canvas, rng, settings), answer=answer, evidence=f"it is a {answer}"
    )


def count(rng: Random, settings: Settings) -> Question:
    """Make: how many shapes are there? 1 to 3 (easy), 4 or 6; never touching."""
    most = 3 if settings.difficulty < 0.25 else 4 if settings.difficulty < 0.75 else 6
    answer = rng.randint(1, most)
    canvas = Canvas(settings.image_size, paper(rng))
    cells = rng.sample(list(itertools.product(range(3), range(3))), answer)
    name, tint = rng.choice(SHAPES[:3]), COLOURS[rng.choice(colours(settings.difficulty))]
    cell = settings.image_size / 3
    for row, column in cells:
        radius = cell * rng.uniform(0.32, 0.42)
        centre = tuple(cell * (place + 0.5 + rng.uniform(-0.06, 0.06)) for place in (column, row))
        canvas.shape(name, (centre[0], centre[1]), radius, jittered(tint, rng, spread=20))
    evidence = f"i see {answer}"
    return Question(medium=_pixels(canvas, rng, settings), answer=str(answer), evidence=evidence)


def jigsaw(rng: Random, settings: Settings) -> Question:
    """Make: a landscape cut into tiles that changed places; where was each tile?

    The answer lists, for the places in reading order, from which place the tile there came, counted
    from 1. Easy: at most two neighbours in a row have changed places; middling: any two tiles;
    hard: every order.
    """
    rows, columns = settings.grid
    picture = landscape(settings.image_size, rng, clutter=settings.difficulty)
    answer = _order(rng, rows, columns, settings.difficulty)
    tiles = _tiles(picture, rows, columns)
    shuffled = [tiles[origin - 1] for origin in answer]
    lines = [
        np.concatenate(shuffled[row * columns : (row + 1) * columns], axis=1) for row in range(rows)
    ]
    moved = [str(place) for place, origin in enumerate(answer, start=1) if place != origin]
    evidence = f"moved {' '.join(moved)}" if moved else "none moved"
    return Question(medium=np.concatenate(lines), answer=answer, evidence=evidence)


def rotation(rng: Random, settings: Settings) -> Question:
    """Make: by how many degrees was the landscape turned clockwise? 0, 90, 180 or 270."""
    answer = rng.choice(TURNS)
    picture = landscape(settings.image_size, rng, clutter=settings.difficulty)
    turned = np.ascontiguousarray(np.rot90(picture, -answer // 90))
    return Question(medium=turned, answer=str(answer), evidence=f"turned by {answer}")


def box(rng: Random, settings: Settings) -> Question:
    """Make: where is the shape of that colour? A box in thousandths of the picture.

    Easy: alone, in one of four places; middling: one of two, in nine places; hard: one of three,
        moved a little.
    """
    level = min(2, int(3 * settings.difficulty))
    side = 2 if level == 0 else 3
    places = rng.sample(list(itertools.product(range(side), range(side))), level + 1)
    names = rng.sample(list(COLOURS)[:4], level + 1)
    canvas = Canvas(settings.image_size, paper(rng))
    boxes = [
        _boxed(canvas, rng, place, side, name, free=level == 2)
        for place, name in zip(places, names, strict=True)
    ]
    row, column = places[0]
    evidence = f"{names[0]} in row {row + 1} column {column + 1}"
    pixels = _pixels(canvas, rng, settings)
    return Question(medium=pixels, answer=boxes[0], evidence=evidence, fill={"colour": names[0]})


def _put(canvas: Canvas, rng: Random, settings: Settings, *, name: str, colour: str) -> None:
    """Draw one shape whose size, place, angle and tint vary more when it is harder."""
    hard = settings.difficulty
    radius = canvas.size * rng.uniform(0.34 - 0.16 * hard, 0.4)
    free = canvas.size / 2 - radius
    centre = tuple(canvas.size / 2 + rng.uniform(-free, free) for _ in range(2))
    tint = jittered(COLOURS[colour], rng, spread=12 + round(12 * hard))
    turn = rng.uniform(-1, 1) * (8 + 12 * hard)
    canvas.shape(name, (centre[0], centre[1]), radius, tint, turn=turn)


def _pixels(canvas: Canvas, rng: Random, settings: Settings) -> np.ndarray:
    return canvas.pixels(rng, grain=2 + round(14 * settings.difficulty))


def _order(rng: Random, rows: int, columns: int, difficulty: float) -> list[int]:
    places = list(range(1, rows * columns + 1))
    if difficulty >= 2 / 3:
        return rng.sample(places, len(places))
    pairs = list(itertools.combinations(range(len(places)), 2))
    if difficulty < 1 / 3:
        pairs = [(one, two) for one, two in pairs if two == one + 1 and two % columns]
    swap = rng.choice([None, *pairs])
    if swap:
        places[swap[0]], places[swap[1]] = places[swap[1]], places[swap[0]]
    return places


def _tiles(picture: np.ndarray, rows: int, columns: int) -> list[np.ndarray]:
    """Cut a picture into equal tiles, in reading order; what does not divide is cut off."""
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    return [
        picture[row * height : (row + 1) * height, column * width : (column + 1) * width]
        for row, column in itertools.product(range(rows), range(columns))
    ]


def _boxed(
    canvas: Canvas, rng: Random, place: tuple[int, int], side: int, name: str, *, free: bool
) -> list[int]:
    """Draw a disc on whole pixels in a cell of the grid; return its box in thousandths."""
    cell = canvas.size / side
    width = math.floor(cell * 0.8)
    slack = int(cell) - width
    row, column = place
    shift_x, shift_y = (rng.randint(0, slack) if free else slack // 2 for _ in range(2))
    left, top = int(column * cell) + shift_x, int(row * cell) + shift_y
    tint = jittered(COLOURS[name], rng, spread=20)
    canvas.shape("circle", (left + width / 2, top + width / 2), width / 2, tint)
    return [round(1000 * edge / canvas.size) for edge in (left, top, left + width, top + width)]


TASKS = {
    "colour": Task(
        kind="image",
        make=colour,
        verifier="exact",
        wordings=(
            "Which colour?",
            "What colour is it?",
            "Name the colour.",
            "The colour of the shape?",
        ),
    ),
    "shape": Task(
        kind="image",
        make=shape,
        verifier="exact",
        wordings=("Which shape?", "What shape is it?", "Name the shape.", "What is drawn here?"),
    ),
    "count": Task(
        kind="image",
        make=count,
        verifier="number",
        wordings=("How many shapes?", "Count the shapes.", "The number of shapes?"),
    ),
    "jigsaw": Task(
        kind="image",
        make=jigsaw,
        verifier="permutation",
        wordings=("Where was each tile?", "Tiles: the original places?", "Undo the jigsaw."),
    ),
    "rotation": Task(
        kind="image",
        make=rotation,
        verifier="number",
        wordings=(
            "Turned by how much?",
            "By how many degrees is it turned?",
            "The angle of rotation?",
        ),
    ),
    "box": Task(
        kind="image",
        make=box,
        verifier="box",
        wordings=(
            "Where is the {colour} one?",
            "The box of the {colour} shape?",
            "Locate the {colour} shape.",
        ),
        keys={"coordinates": "norm1000"},
    ),
}
