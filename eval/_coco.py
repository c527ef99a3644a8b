"""Data sets in COCO's format: one record per picture, with its boxes and the labels to look for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eval._shared import groups_of
from mmrl.errors import DataError
from mmrl.evals.benchmark import Item, Message, Record, user_turn
from mmrl.evals.scorers.boxes import corners


def read_coco(path: Path, root: Path, *, name: str = "") -> Iterator[Record]:
    """Yield a record per picture of an annotation file.

    Pictures stand beside the file; the labels to look for are the picture's own `text` and
    `neg_text`, where it has them, else all categories.

    Args:
        path: The annotation file.
        root: What paths of pictures are relative to.
        name: The data set; the file's name where it is empty.

    Raises:
        DataError: the file is not COCO's format, or holds a region of a crowd, which would need
            rules that are not here.
    """
    try:
        whole = json.loads(path.read_bytes())
        names = {one["id"]: str(one["name"]) for one in whole["categories"]}
        boxes = _boxes(whole["annotations"], names)
        for one in whole["images"]:
            picture = path.parent / one["file_name"]
            yield {
                "id": f"{name or path.stem}/{one['id']}",
                "dataset": name or path.stem,
                "image": str(picture.relative_to(root) if root in picture.parents else picture),
                "width": one["width"],
                "height": one["height"],
                "labels": _labels(one) or list(dict.fromkeys(names.values())),
                "boxes": boxes.get(one["id"], []),
            }
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        raise DataError(f"{path}: not in COCO's format: {error!r}") from error


def read_item(record: Record) -> Item:
    """Read a record of `read_coco`."""
    return Item(
        id=str(record["id"]),
        answer=record.get("boxes") or [],
        fields=record,
        groups=groups_of(record, dataset="dataset"),
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the picture and ask for all boxes of all labels, as a JSON list."""
    record = item.fields
    labels = ", ".join(record["labels"])
    text = (
        f"Locate every instance of these categories in the picture: {labels}. Answer with a JSON "
        'list of objects such as {"bbox_2d": [x1, y1, x2, y2], "label": "category"}, [] if there '
        "is none."
    )
    return user_turn(("image", record["image"]), text)


def _boxes(
    annotations: list[Mapping[str, Any]], names: Mapping[Any, str]
) -> dict[Any, list[dict[str, Any]]]:
    boxes: dict[Any, list[dict[str, Any]]] = {}
    for one in annotations:
        if one.get("iscrowd"):
            raise ValueError(f"annotation {one.get('id')} is a crowd")
        box = {"label": names[one["category_id"]], "box": list(corners(one["bbox"]))}
        boxes.setdefault(one["image_id"], []).append(box)
    return boxes


def _labels(picture: Mapping[str, Any]) -> list[str]:
    asked = [picture.get(key) or [] for key in ("text", "neg_text")]
    listed = [[one] if isinstance(one, str) else list(one) for one in asked]
    return list(dict.fromkeys(str(label) for labels in listed for label in labels))
