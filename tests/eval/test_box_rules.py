"""Boxes and detections: against pycocotools, against numpy, and in three spaces of coordinates."""

from __future__ import annotations

import contextlib
import io
import json
import random
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from eval.ovdeval import keep_first, keep_last
from mmrl.errors import DataError
from mmrl.evals.benchmark import Response, Scored, find_benchmark
from mmrl.evals.questions import read_questions
from mmrl.evals.scorers.detection import mean_average_precision
from mmrl.evals.scoring import judge

FIXTURES = Path(__file__).parent / "fixtures"
LABELS = ("dog", "cat", "bird")


def _boxes(rng, count):
    found = []
    for _ in range(count):
        left, top = rng.randint(0, 60), rng.randint(0, 60)
        size = rng.randint(10, 40)
        found.append((rng.choice(LABELS), (left, top, left + size, top + size + rng.randint(0, 9))))
    return tuple(found)


def _nudged(rng, boxes):
    moved = []
    for label, (left, top, right, bottom) in boxes:
        by = rng.randint(-6, 6)
        label = label if rng.random() < 0.8 else rng.choice(LABELS)
        moved.append((label, (left + by, top, right + by, bottom + rng.randint(-4, 4))))
    return tuple(moved)


def _pictures(seed, count=12):
    rng = random.Random(seed)
    pictures = []
    for _ in range(count):
        gold = _boxes(rng, rng.randint(0, 5))
        found = _nudged(rng, gold) + _boxes(rng, rng.randint(0, 4))
        pictures.append((gold, found))
    return pictures


def _coco(pictures):
    """Return what COCO's own evaluation says, all confidences being 1."""
    number = {label: place for place, label in enumerate(LABELS, start=1)}

    def rows(place, boxes, **extra):
        return [
            {
                "image_id": place,
                "category_id": number[label],
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "area": (box[2] - box[0]) * (box[3] - box[1]),
                "iscrowd": 0,
                **extra,
            }
            for label, box in boxes
        ]

    gold = [row for place, (boxes, _) in enumerate(pictures, 1) for row in rows(place, boxes)]
    found = [row for p, (_, boxes) in enumerate(pictures, 1) for row in rows(p, boxes, score=1.0)]
    whole = {
        "images": [{"id": place} for place, _ in enumerate(pictures, 1)],
        "annotations": [{**row, "id": place} for place, row in enumerate(gold, 1)],
        "categories": [{"id": place, "name": label} for label, place in number.items()],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = whole
        known.createIndex()
        judged = COCOeval(known, known.loadRes(found), "bbox")
        judged.params.areaRng, judged.params.areaRngLbl = [[0, 1e10]], ["all"]
        judged.evaluate()
        judged.accumulate()
    precision = judged.eval["precision"][:, :, :, 0, -1]
    seen = precision[:, :, (precision > -1).all(axis=(0, 1))]
    return float(seen.mean()), float(seen[0].mean()), float(seen[5].mean())


@pytest.mark.parametrize("seed", range(6))
def test_mean_average_precision_is_that_of_pycocotools(seed):
    pictures = _pictures(seed)
    found = mean_average_precision(pictures)
    assert (found["mAP"], found["AP50"], found["AP75"]) == pytest.approx(_coco(pictures), abs=1e-9)


def test_no_gold_box_at_all_is_no_precision():
    assert mean_average_precision([])["mAP"] == 0.0
    assert mean_average_precision([((), (("dog", (0, 0, 1, 1)),))])["mAP"] == 0.0


def _nms_of_numpy(gold, found):
    """Return what OVDEval's rule leaves, with numpy's own order of equal confidences."""
    keep, remove = [], []
    for _, (x1, y1, x2, y2) in gold:
        overlaps = []
        for _, (a1, b1, a2, b2) in found:
            inter = max(0, min(x2, a2) - max(x1, a1)) * max(0, min(y2, b2) - max(y1, b1))
            union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - inter
            overlaps.append(inter / union if union else 0)
        near = np.where(np.array(overlaps) > 0.5)[0] if overlaps else np.array([], int)
        order = np.argsort(np.ones(len(near)))[::-1]
        ranked = [int(near[place]) for place in order]
        keep += ranked[:1]
        remove += ranked[1:]
    return tuple(one for place, one in enumerate(found) if place in keep or place not in remove)


@pytest.mark.parametrize("seed", range(6))
def test_ovdevals_suppression_is_that_of_numpys_order(seed):
    for gold, found in _pictures(seed):
        assert keep_last(gold, found) == _nms_of_numpy(gold, found)


def test_every_label_on_the_same_box_earns_little():
    gold = (("red car", (0, 0, 50, 50)),)
    found = tuple((label, (0, 0, 50, 50)) for label in ("red car", "blue car", "green car"))
    assert keep_last(gold, found) == found[2:]
    assert keep_first(gold, found) == found[:1]
    item = next(read_questions(*_ovdeval())).item
    text = json.dumps(
        [
            {"bbox_2d": [10, 10, 60, 60], "label": label}
            for label in ("red car", "blue car", "green car")
        ]
    )
    benchmark = find_benchmark("ovdeval")
    official = judge(benchmark, item, Response(text=text), "official")
    assert [one["label"] for one in official.detail] == ["green car"]
    assert [
        one["label"] for one in judge(benchmark, item, Response(text=text), "strict").detail
    ] == ["red car"]


def _ovdeval():
    benchmark = find_benchmark("ovdeval")
    return benchmark, str(FIXTURES / "ovdeval"), benchmark.split()


def _asked(question):
    return " ".join(part.get("text", "") for part in question.row.prompt[0]["content"])


def test_a_pictures_own_labels_are_asked_for_before_all_categories():
    first, second, logo = read_questions(*_ovdeval())
    assert "red car, blue car, green car" in _asked(first)
    assert "red car, blue car." in _asked(second)
    assert (first.item.id, logo.item.id) == ("color/7", "logo/7")


def test_odinw_means_over_the_sets_that_are_there():
    benchmark = find_benchmark("odinw")
    questions = list(read_questions(benchmark, str(FIXTURES / "odinw"), benchmark.split()))
    assert {question.item.groups["dataset"] for question in questions} == {"Raccoon", "pothole"}
    scored = []
    for question in questions:
        gold = question.item.answer if question.item.groups["dataset"] == "Raccoon" else []
        text = json.dumps([{"bbox_2d": one["box"], "label": one["label"].upper()} for one in gold])
        score = judge(benchmark, question.item, Response(text=text), "official")
        scored.append(Scored(item=question.item, score=score))
    assert benchmark.aggregate is not None
    found = benchmark.aggregate(scored)
    assert list(found)[:2] == ["mAP", "AP50"]
    assert found["mAP"] == pytest.approx(0.5)
    assert (found["mAP Raccoon"], found["mAP pothole"]) == pytest.approx((1.0, 0.0))


def test_an_aggregate_equals_pycocotools_on_what_was_recorded():
    benchmark = find_benchmark("odinw")
    scored = []
    pictures = _pictures(11)
    for place, (gold, found) in enumerate(pictures):
        boxes = [{"label": label, "box": list(box)} for label, box in gold]
        item = benchmark.item({"id": place, "boxes": boxes, "dataset": "x"})
        text = json.dumps([{"bbox_2d": list(box), "label": label} for label, box in found])
        scored.append(
            Scored(item=item, score=judge(benchmark, item, Response(text=text), "official"))
        )
    assert benchmark.aggregate is not None
    assert benchmark.aggregate(scored)["mAP"] == pytest.approx(_coco(pictures)[0], abs=1e-9)


@pytest.mark.parametrize(
    "whole",
    [
        "[]",
        '{"images": []}',
        '{"images": [], "categories": [{"id": 1, "name": "x"}], '
        '"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "iscrowd": 1}]}',
    ],
)
def test_what_is_not_cocos_format_is_one_line(tmp_path, whole):
    file = tmp_path / "color.json"
    file.write_text(whole)
    benchmark = find_benchmark("ovdeval")
    with pytest.raises(DataError, match=r"color\.json: not in COCO's format"):
        list(read_questions(benchmark, str(file), benchmark.split()))


def test_a_folder_without_sets_says_what_is_wanted(tmp_path):
    benchmark = find_benchmark("odinw")
    with pytest.raises(DataError, match="has no set of ODinW-13"):
        list(read_questions(benchmark, str(tmp_path), benchmark.split()))


def _refcoco(text, mode="official", record=None, **response):
    benchmark = find_benchmark("refcoco")
    item = benchmark.item(
        record or {"question_id": "1", "bbox": [20, 10, 60, 40], "width": 200, "height": 100}
    )
    return judge(benchmark, item, Response(text=text, **response), mode)


@pytest.mark.parametrize(
    ("text", "space", "sizes", "right"),
    [
        ("[20, 10, 80, 50]", None, (), True),
        ("[20, 10, 80, 50]", "pixel", ((200, 100),), True),
        ("[40, 20, 160, 100]", "pixel", ((400, 200),), True),
        ("[20, 10, 80, 50]", "pixel", ((400, 200),), False),
        ("[100, 100, 400, 500]", "norm1000", (), True),
        ("[100, 100, 400, 500]", None, (), False),
        ("[0.1, 0.1, 0.4, 0.5]", "unit", (), True),
        ("[20, 10, 60, 40]", None, (), True),
        ("[20, 10, 49, 50]", None, (), False),
        ("[20, 10, 50, 50]", None, (), True),
    ],
)
def test_a_box_is_judged_in_the_declared_space_only(text, space, sizes, right):
    found = _refcoco(text, coordinates=space, sizes=sizes)
    assert (found.status, found.correct) == ("ok", right)


def test_the_first_box_counts_officially_and_the_only_one_strictly():
    text = '[{"bbox_2d": [20, 10, 80, 50], "label": "dog"}, {"bbox_2d": [0, 0, 5, 5]}]'
    assert _refcoco(text).correct
    assert _refcoco(text, "strict").status == "ambiguous"
    swapped = '[{"bbox_2d": [0, 0, 5, 5]}, {"bbox_2d": [20, 10, 80, 50]}]'
    assert not _refcoco(swapped).correct
    assert _refcoco("no box", "strict").status == "no_answer"
    assert _refcoco("It is at (20,10),(80,50)", "strict").correct


def test_a_space_that_needs_a_size_which_is_not_there_is_an_error():
    record = {"question_id": "1", "bbox": [20, 10, 60, 40]}
    found = _refcoco("[100, 100, 400, 500]", record=record, coordinates="norm1000")
    assert (found.status, found.value) == ("error", 0.0)
    assert "size of the image" in found.detail
    assert _refcoco("[20, 10, 80, 50]", record=record).correct


def test_a_record_has_an_item_for_every_phrase_and_its_size_from_the_picture():
    benchmark = find_benchmark("refcoco")
    questions = list(read_questions(benchmark, str(FIXTURES / "refcoco"), benchmark.split()))
    assert [one.item.id for one in questions] == ["469306/0", "469306/1", "469307/0"]
    assert "dog with a ball" in _asked(questions[1])
    assert len({one.item.cluster for one in questions}) == 1
    found = judge(
        benchmark,
        questions[2].item,
        Response(text="[500, 500, 1000, 1000]", coordinates="norm1000"),
        "strict",
    )
    assert found.correct
