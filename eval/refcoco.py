"""RefCOCO, RefCOCO+ and RefCOCOg (arXiv 1608.00272): the box of what a phrase refers to, right at
an overlap of at least 0.5.

There is no scorer of the authors for models that write boxes. `official` takes the first box of a
response, `strict` wants it to be the only one. The space of the coordinates is the one that the
model declares; neither other boxes nor other spaces are tried. A phrase is an item.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval._shared import media_key, numbered, qwen, record_id
from mmrl.evals.benchmark import (
    Benchmark,
    Item,
    Message,
    Published,
    Record,
    Response,
    Score,
    Split,
    judged,
    register,
    unanswered,
    user_turn,
)
from mmrl.evals.reading import find_answer
from mmrl.evals.scorers.boxes import NoSpace, corners, picture_size, read_boxes, to_pixels
from mmrl.evals.scorers.mcq import read_options
from mmrl.verify.boxes import iou

THRESHOLD = 0.5


def records(source: Path | str, split: Split) -> Iterator[Record]:
    """Yield a record per phrase; a record of the data set has several for one box."""
    for record in numbered(source, split):
        phrases = record.get("answer")
        listed = isinstance(phrases, list | tuple) or str(phrases).startswith("[")
        for place, phrase in enumerate(read_options(phrases) if listed else [str(phrases)]):
            yield {**record, "phrase": phrase, "phrase_index": place}


def read_item(record: Record) -> Item:
    """Read a record of `records`; the answer is left, top, right, bottom in pixels."""
    box = record.get("bbox")
    place = record.get("phrase_index")
    name = record_id(record, "question_id", "id")
    size = picture_size(record)
    return Item(
        id=name if place is None else f"{name}/{place}",
        answer=None if box is None else list(corners(box)),
        fields=record if size is None else {**record, "width": size[0], "height": size[1]},
        cluster=str(record.get("file_name") or media_key(record.get("image"))),
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the picture and ask for the box of the phrase."""
    record = item.fields
    text = (
        f"Locate what this refers to: {record['phrase']}. Answer with its bounding box in JSON: "
        '{"bbox_2d": [x1, y1, x2, y2]}.'
    )
    return user_turn(("image", record["image"]), text)


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by its box."""
    if item.answer is None:
        raise ValueError("the record has no bbox")
    left, top, right, bottom = item.answer
    found = find_answer(response)
    boxes = read_boxes(found)
    if not boxes:
        return unanswered(answer=found.text[-200:] or None)
    if mode == "strict" and len(set(boxes)) > 1:
        return unanswered("ambiguous", answer=found.text[-200:])
    try:
        box = to_pixels(boxes[0], response, picture_size(item.fields))
    except NoSpace as error:
        return unanswered("error", answer=found.text[-200:], detail=str(error))
    overlap = iou((left, top, right, bottom), box)
    return judged(
        overlap >= THRESHOLD,
        answer=found.text[-200:],
        normalised=", ".join(f"{value:.0f}" for value in box),
        how=found.how,
        detail={"box": list(box), "iou": overlap},
    )


def _benchmark(name: str, hub: str, splits: dict[str, tuple[Published, ...]]) -> Benchmark:
    return Benchmark(
        name=name,
        version="1",
        summary="The box of what a phrase refers to, at an overlap of at least 0.5.",
        hub=hub,
        splits=tuple(
            Split(name=split, files=(f"data/{split}-*.parquet", f"{split}.*")) for split in splits
        ),
        records=records,
        item=read_item,
        prompt=prompt,
        score=score,
        published=(
            *(one for found in splits.values() for one in found),
            *qwen(None, 89.1, 88.2, "mean of RefCOCO, RefCOCO+ and RefCOCOg"),
        ),
        notes=(
            "the prompt is ours; the space of the coordinates is the model's declared one",
            "norm1000 and unit boxes need the picture's size: in the record's bytes, or as width "
            "and height",
        ),
    )


register(
    _benchmark(
        "refcoco",
        "lmms-lab/RefCOCO",
        {
            "val": qwen(90.0, setting="val"),
            "testA": qwen(92.5, setting="testA"),
            "testB": qwen(85.4, setting="testB"),
        },
    )
)
register(
    _benchmark(
        "refcoco_plus",
        "lmms-lab/RefCOCOplus",
        {
            "val": qwen(84.2, setting="val"),
            "testA": qwen(89.1, setting="testA"),
            "testB": qwen(76.9, setting="testB"),
        },
    )
)
register(
    _benchmark(
        "refcoco_g",
        "lmms-lab/RefCOCOg",
        {"val": qwen(87.2, setting="val"), "test": qwen(87.2, setting="test")},
    )
)
