"""Questions with known answers on drawn pictures, drawn videos and generated sounds.

`mmrl data build synthetic out=DIR tasks.colour=200 tasks.pitch=200 difficulty=0.2`
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

from pydantic import Field

from data_pipelines import synthetic_images, synthetic_sounds, synthetic_videos
from data_pipelines.synthetic_question import Question, Settings, Task
from data_pipelines.synthetic_teacher import with_slips
from mmrl.data.pipelines import Split, pipeline
from mmrl.errors import ConfigError
from mmrl.media.writers import write_mp4, write_png, write_wav

TASKS: dict[str, Task] = {
    **synthetic_images.TASKS,
    **synthetic_videos.TASKS,
    **synthetic_sounds.TASKS,
}

TaskName = Literal[
    "colour",
    "shape",
    "count",
    "jigsaw",
    "rotation",
    "box",
    "direction",
    "order",
    "pitch",
    "tone_order",
]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=16, le=4096, multiple_of=2)]

_SUFFIXES = {"image": "png", "video": "mp4", "audio": "wav"}


@pipeline
def synthetic(
    folder: Path,
    *,
    seed: int,
    split: Split,
    tasks: dict[TaskName, Count] | list[TaskName],
    count: Count | None = None,
    difficulty: Share | dict[TaskName, Share] = 0.3,
    image_size: Size = 56,
    frames: Annotated[int, Field(ge=6, le=512)] = 8,
    fps: Annotated[float, Field(gt=0, le=60)] = 4.0,
    sampling_rate: Annotated[int, Field(ge=4000, le=48_000)] = 16_000,
    grid: tuple[Annotated[int, Field(ge=1, le=8)], Annotated[int, Field(ge=1, le=8)]] = (2, 2),
    paraphrases: Count = 1,
    slips: Share | dict[TaskName, Share] = 0.0,
) -> Iterator[dict[str, Any]]:
    """Mix questions on drawn pictures, drawn videos and generated sounds.

    Args:
        folder: Where media are written, below `media/`.
        seed: Each row has its own random stream, made of the task, the split, the seed and its
            number.
        split: Rows of the two splits have different streams.
        tasks: Rows per task by name; or names, with `count` rows of each.
        count: Rows per task where `tasks` is a list.
        difficulty: 0 (easy) to 1, for all tasks or by task.
        image_size: Pixels per side of pictures and frames.
        frames: Frames per video.
        fps: Frames per second.
        sampling_rate: Samples of sound per second.
        grid: Rows and columns of a jigsaw.
        paraphrases: Out of how many wordings each question is drawn; 1 asks always alike.
        slips: How often the teacher that writes the traces is wrong on the half of the values that
            it confuses, for all tasks or by task; see synthetic_teacher.py. Answers are always
            right.
    """
    settings = partial(
        Settings,
        image_size=image_size,
        frames=frames,
        fps=fps,
        sampling_rate=sampling_rate,
        grid=grid,
    )
    levels = difficulty if isinstance(difficulty, dict) else dict.fromkeys(TASKS, difficulty)
    rows = []
    for name, number in _shuffled(_counts(tasks, count), f"{split}/{seed}"):
        rng = Random(f"{name}/{split}/{seed}/{number}")
        of_task = settings(difficulty=levels.get(name, 0.3))
        row_id = f"{name}-{split}-{seed}-{number}"
        rows.append(_row(folder, name, row_id, rng, of_task, paraphrases))
    shares = {**slips} if isinstance(slips, dict) else dict.fromkeys(TASKS, slips)
    yield from with_slips(rows, shares, f"{split}/{seed}")


def _counts(tasks: dict[TaskName, int] | list[TaskName], count: int | None) -> dict[TaskName, int]:
    if isinstance(tasks, dict):
        if count is not None:
            raise ConfigError(
                "pipeline 'synthetic': 'count' goes with a list of tasks; the mapping has counts"
            )
        return tasks
    if count is None:
        raise ConfigError("pipeline 'synthetic': a list of tasks needs 'count', rows of each task")
    return dict.fromkeys(tasks, count)


def _shuffled(counts: dict[TaskName, int], stream: str) -> list[tuple[TaskName, int]]:
    pairs: list[tuple[TaskName, int]] = [
        (name, number) for name in sorted(counts) for number in range(counts[name])
    ]
    Random(f"shuffle/{stream}").shuffle(pairs)
    return pairs


def _row(
    folder: Path, name: str, row_id: str, rng: Random, settings: Settings, paraphrases: int
) -> dict[str, Any]:
    task = TASKS[name]
    question = task.make(rng, settings)
    path = f"media/{name}/{row_id}.{_SUFFIXES[task.kind]}"
    _write(folder / path, task, question, settings)
    words = rng.choice(task.wordings[:paraphrases]).format(**question.fill)
    answer = question.answer if isinstance(question.answer, str) else json.dumps(question.answer)
    return {
        "id": row_id,
        "source": name,
        "prompt": [
            {
                "role": "user",
                "content": [{"type": task.kind, task.kind: path}, {"type": "text", "text": words}],
            }
        ],
        "answer": question.answer,
        "verifier": {"name": task.verifier, "params": {}},
        "difficulty": settings.difficulty,
        "response": f"<think>{question.evidence}</think><answer>{answer}</answer>",
        **task.keys,
    }


def _write(path: Path, task: Task, question: Question, settings: Settings) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if task.kind == "image":
        write_png(path, question.medium)
    elif task.kind == "video":
        write_mp4(path, question.medium, fps=settings.fps)
    else:
        write_wav(path, question.medium, sampling_rate=settings.sampling_rate)
