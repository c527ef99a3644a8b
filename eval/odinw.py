"""ODinW-13 (arXiv 2204.08790): detection in 13 small sets of very different pictures.

Qwen's protocol: all categories of a set in one prompt, every box with confidence 1, COCO's mAP
.50:.95, mean over the sets. `strict` counts boxes with the same corners once. Read from the sets as
they are distributed: `<set>/.../annotations_without_background.json` with its pictures beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval._coco import prompt, read_coco, read_item
from eval._shared import qwen
from mmrl.errors import DataError
from mmrl.evals.benchmark import Benchmark, Item, Record, Response, Score, Split, register
from mmrl.evals.scorers.detection import mean_map_over, score_detections

ANNOTATIONS = "annotations_without_background.json"
PARTS = ("valid", "mini_val", f"val_{ANNOTATIONS}")
SETS = (
    "AerialMaritimeDrone",
    "Aquarium",
    "CottontailRabbits",
    "EgoHands",
    "NorthAmericaMushrooms",
    "Packages",
    "PascalVOC",
    "pistols",
    "pothole",
    "Raccoon",
    "ShellfishOpenImages",
    "thermalDogsAndPeople",
    "VehiclesOpenImages",
)


def records(source: Path | str, split: Split) -> Iterator[Record]:
    """Yield a record per picture of one annotation file, or of every set below a folder.

    Raises:
        DataError: the source is no local copy, or has none of the sets.
    """
    path = Path(source)
    if path.is_file():
        yield from read_coco(path, path.parent)
        return
    wanted = [file for file in sorted(path.glob(f"*/**/*{ANNOTATIONS}")) if _is_meant(file, path)]
    if not wanted:
        raise DataError(
            f"data: {source} has no set of ODinW-13; give a folder that holds "
            f"<set>/.../valid/{ANNOTATIONS}"
        )
    for file in wanted:
        yield from read_coco(file, path, name=file.relative_to(path).parts[0])


def _is_meant(file: Path, root: Path) -> bool:
    """Tell whether a file is the validation part of one of the sets, in its large version."""
    parts = file.relative_to(root).parts
    left_out = {"tiled", "specific"}.intersection(parts)
    return parts[0] in SETS and not left_out and any(part in PARTS for part in parts)


def score(item: Item, response: Response, mode: str) -> Score:
    """Record the boxes of a response."""
    return score_detections(item, response, same_corners=mode == "official")


register(
    Benchmark(
        name="odinw",
        version="1",
        summary="Detection in 13 small sets; mAP .50:.95, mean over the sets.",
        hub="",
        splits=(Split(name="valid"),),
        metric="mAP",
        records=records,
        item=read_item,
        prompt=prompt,
        score=score,
        aggregate=mean_map_over("dataset"),
        groups=("dataset",),
        published=qwen(37.3, 44.7, 39.8, "mAP .50:.95, mean over 13 sets"),
        notes=(
            "boxes carry no confidence: ties fall in the order of pictures and of generation",
            "which sets the published numbers cover, and their prompt, are not stated; here all "
            "that are found among the 13",
            "of AerialMaritimeDrone the large pictures are read, not the tiles; of EgoHands the "
            "generic hands, where both kinds are there",
            "the hub's copy, kcz358/ODinW-13, is not read: its columns were not seen",
        ),
    )
)
