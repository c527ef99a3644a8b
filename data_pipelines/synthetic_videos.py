"""Questions on drawn videos: direction of motion and order of events; no pipeline."""

from __future__ import annotations

from random import Random

import numpy as np

from data_pipelines.synthetic_drawing import COLOURS, SHAPES, Canvas, colours, jittered, paper
from data_pipelines.synthetic_question import Question, Settings, Task

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def direction(rng: Random, settings: Settings) -> Question:
    """Make: which way does the shape move? The harder, the smaller, slower, more varied it is."""
    answer = rng.choice(list(DIRECTIONS))
    size, hard = settings.image_size, settings.difficulty
    radius = size * rng.uniform(0.2 - 0.08 * hard, 0.24)
    way = (size - 2 * radius) * rng.uniform(0.9 - 0.5 * hard, 1.0)
    across = radius + (size - 2 * radius) * rng.random()
    start = (size - way) / 2 + rng.uniform(-1, 1) * (size - 2 * radius - way) / 2
    name, tint = (
        rng.choice(SHAPES[:3]),
        jittered(COLOURS[rng.choice(colours(hard))], rng, spread=20),
    )
    ground = paper(rng)
    frames = []
    for share in np.linspace(0, 1, settings.frames):
        canvas = Canvas(size, ground)
        canvas.shape(name, _along(answer, start + way * share, across, size), radius, tint)
        frames.append(canvas.pixels(rng, grain=2 + round(8 * hard)))
    return Question(medium=np.stack(frames), answer=answer, evidence=f"it moves {answer}")


def order(rng: Random, settings: Settings) -> Question:
    """Make: which colour flashed first? Two flashes (easy), or the order of three flashes."""
    hard = settings.difficulty >= 0.5
    flashes = 3 if hard else 2
    names = rng.sample(list(COLOURS)[: 4 if hard else 3], flashes)
    shown = _timetable(rng, names, settings.frames)
    size, ground = settings.image_size, paper(rng)
    name, radius = rng.choice(SHAPES[:3]), size * rng.uniform(0.3, 0.42)
    tints = {word: jittered(COLOURS[word], rng, spread=16) for word in names}
    frames = []
    for flash in shown:
        canvas = Canvas(size, ground)
        if flash is not None:
            canvas.shape(name, (size / 2, size / 2), radius, tints[flash])
        frames.append(canvas.pixels(rng, grain=2 + round(8 * settings.difficulty)))
    answer = " ".join(names) if hard else names[0]
    question = "Which colours, in order?" if hard else "Which colour came first?"
    return Question(
        medium=np.stack(frames),
        answer=answer,
        evidence=" then ".join(names),
        fill={"question": question},
    )


def _along(direction: str, travelled: float, across: float, size: int) -> tuple[float, float]:
    """Return the centre of a shape that has come so far in a direction."""
    x, y = DIRECTIONS[direction]
    place = travelled if x + y > 0 else size - travelled
    return (place, across) if x else (across, place)


def _timetable(rng: Random, names: list[str], frames: int) -> list[str | None]:
    """Say what each frame shows: flashes in order, at least two frames long, at random moments."""
    spare = frames - 2 * len(names)
    cuts = sorted(rng.randint(0, spare) for _ in range(2 * len(names)))
    shares = [end - start for start, end in zip([0, *cuts], [*cuts, spare], strict=True)]
    shown: list[str | None] = [None] * shares[0]
    for index, name in enumerate(names):
        shown += [name] * (2 + shares[2 * index + 1])
        shown += [None] * shares[2 * index + 2]
    return shown


TASKS = {
    "direction": Task(
        kind="video",
        make=direction,
        verifier="exact",
        wordings=(
            "Which way does it move?",
            "Name the direction of motion.",
            "Where does the shape go?",
        ),
    ),
    "order": Task(kind="video", make=order, verifier="exact", wordings=("{question}",)),
}
