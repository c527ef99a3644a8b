"""OVDEval (arXiv 2308.13177): detection by descriptions with hard negatives, nine subtasks from
colour to celebrity.

The measure is NMS-AP: for every gold box all but one of the predictions that overlap it by more
than 0.5 are removed, whatever their labels, and then COCO's mAP is taken; it defeats putting every
label on the same box. `official` keeps what numpy's order gives for equal confidences, the last
one; `strict` keeps the first one generated, and counts boxes with the same corners once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval._coco import prompt, read_coco, read_item
from mmrl.errors import DataError
from mmrl.evals.benchmark import Benchmark, Item, Record, Response, Score, Split, register
from mmrl.evals.scorers.detection import Boxes, mean_map_over, score_detections
from mmrl.verify.boxes import iou

OVERLAP = 0.5


def records(source: Path | str, split: Split) -> Iterator[Record]:
    """Yield a record per picture of one subtask's annotation file, or of all in a folder.

    Raises:
        DataError: the source is no local copy, or has no annotation file.
    """
    path = Path(source)
    if path.is_file():
        yield from read_coco(path, path.parent)
        return
    files = sorted(path.glob("*.json")) or sorted(path.glob("*/*.json"))
    if not files:
        raise DataError(f"data: {source} has no annotation file; give a folder of <subtask>.json")
    for file in files:
        yield from read_coco(file, path)


def score(item: Item, response: Response, mode: str) -> Score:
    """Record the boxes of a response that are left after the suppression."""
    if mode == "official":
        return score_detections(item, response, same_corners=True, keep=keep_last)
    return score_detections(item, response, keep=keep_first)


def keep_last(gold: Boxes, found: Boxes) -> Boxes:
    """Return the boxes that are left where each gold box keeps the last that overlaps it."""
    return _suppressed(gold, found, kept=-1)


def keep_first(gold: Boxes, found: Boxes) -> Boxes:
    """Return the boxes that are left where each gold box keeps the first that overlaps it."""
    return _suppressed(gold, found, kept=0)


def _suppressed(gold: Boxes, found: Boxes, *, kept: int) -> Boxes:
    """A box that one gold box keeps stays, though another would remove it."""
    keep: set[int] = set()
    remove: set[int] = set()
    for _, box in gold:
        near = [place for place, (_, other) in enumerate(found) if iou(box, other) > OVERLAP]
        if near:
            keep.add(near[kept])
            remove.update(near)
    return tuple(one for place, one in enumerate(found) if place in keep or place not in remove)


register(
    Benchmark(
        name="ovdeval",
        version="1",
        summary="Detection by descriptions with hard negatives; NMS-AP, mean over subtasks.",
        hub="",
        splits=(Split(name="test"),),
        metric="mAP",
        records=records,
        item=read_item,
        prompt=prompt,
        score=score,
        aggregate=mean_map_over("dataset"),
        groups=("dataset",),
        notes=(
            "boxes carry no confidence: ties fall in the order of pictures and of generation",
            "among 16 or more boxes that overlap one gold box, numpy's order is not by generation; "
            "here it is",
            "that a picture's labels stand in its text and neg_text was not checked on the "
            "released files; without them all categories of the subtask are asked for",
            "the mean over subtasks is of the files that are given",
            "no published number of a chat model is known to us",
        ),
    )
)
