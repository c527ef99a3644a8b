"""`detection`: worked cases, matchings against brute force, mAP against pycocotools, speed."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import time

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmrl.errors import RewardError
from mmrl.reward import build_verifier, sample_of
from mmrl.types import Row, Verdict
from mmrl.verify.boxes import assign, iou
from mmrl.verify.detections import (
    COCO_RECALLS,
    COCO_THRESHOLDS,
    average_precisions,
    match_by_label,
    match_by_overlap,
    overlaps,
    read_detections,
)
from mmrl.verify.reading import LabelledBox


def judge(boxes, answer, *, progress: float = 0.0, extra=None, **params) -> Verdict:
    row = Row(id="r", source="s", prompt=[], answer=answer, verifier=(), extra=extra or {})
    text = boxes if isinstance(boxes, str) else json.dumps(boxes)
    return build_verifier("detection", params)(
        sample_of(row, f"<answer>\n{text}\n</answer>", progress=progress)
    )


def item(label: str, *box: float) -> dict:
    return {"bbox_2d": list(box), "label": label}


DOG = [item("dog", 0, 0, 100, 100)]
DOG_GUESS = [item("dog", 0, 0, 100, 92)]
STREET = [item("car", 110, 110, 210, 210), item("person", 300, 300, 400, 400)]
STREET_GUESS = [
    item("car", 100, 100, 200, 200),
    item("person", 300, 300, 400, 400),
    item("car", 500, 500, 600, 600),
]


@pytest.mark.parametrize(
    ("threshold", "completeness", "score"),
    [
        (0.5, 0, 0.92),
        (0.85, 0, 0.92),
        (0.95, 0, 0),
        (0.99, 0, 0),
        ("average", 0, 0.7527273),
        (0.5, 0.3, 0.944),
        ("average", 0.3, 0.7723636),
    ],
)
def test_one_good_box(threshold, completeness, score):
    ratios = {"iou_max_iou_first": 1, "iou_completeness": completeness}
    found = judge(DOG_GUESS, DOG, ratios=ratios, threshold=threshold)
    assert found.score == pytest.approx(score, abs=1e-7)


@pytest.mark.parametrize(("key", "score"), [("map", 0.9), ("map50", 1), ("map75", 1)])
def test_average_precision_of_one_good_box(key, score):
    assert judge(DOG_GUESS, DOG, ratios={key: 0.4}).score == pytest.approx(score)


def test_scores_are_averaged_by_their_ratios_and_completeness_is_none_of_them():
    ratios = {"iou_max_iou_first": 1, "map50": 1, "iou_completeness": 0.3}
    assert judge(DOG_GUESS, DOG, ratios=ratios, threshold=0.5).score == pytest.approx(0.972)


def test_a_spurious_box_costs_precision_and_size_penalty():
    ratios = {"iou_max_iou_first": 0.5, "map": 0.5, "iou_completeness": 0.3}
    verdict = judge(STREET_GUESS, STREET, ratios=ratios, threshold=0.5)
    assert verdict.score == pytest.approx(0.4614706, abs=1e-7)
    assert verdict.parts == pytest.approx(
        {
            "iou_max_iou_first": 0.8382353,
            "map": 0.7,
            "size_penalty": 0.6,
            "completeness": 0.8333333,
            "mean_iou": 0.8403361,
            "precision": 2 / 3,
            "recall": 1,
            "threshold": 0.5,
        },
        abs=1e-7,
    )
    ratios = {"iou_max_iou_first": 1, "iou_completeness": 0.3}
    strict = judge(STREET_GUESS, STREET, ratios=ratios, threshold=0.85)
    assert strict.parts["completeness"] == pytest.approx(0.4166667)
    assert strict.score == pytest.approx(0.475 * 0.6)


@pytest.mark.parametrize(
    ("order", "expected"), [((0, 1, 2), (0.7, 1.0, 0.5)), ((2, 0, 1), (0.6, 0.75, 0.5))]
)
def test_average_precision_depends_on_the_order_of_generation(order, expected):
    guess = [STREET_GUESS[index] for index in order]
    for key, score in zip(("map", "map50", "map75"), expected, strict=True):
        assert judge(guess, STREET, ratios={key: 1}).parts[key] == pytest.approx(score)


def test_a_wrong_label_is_matched_by_overlap_and_not_by_label():
    guess, answer = [item("car", 100, 100, 200, 200)], [item("truck", 110, 110, 210, 210)]
    both = {"iou_completeness": 0.3}
    first = judge(guess, answer, ratios={"iou_max_iou_first": 1, **both}, threshold=0.5)
    assert (first.score, first.parts["completeness"]) == (pytest.approx(0.3), 1)
    second = judge(guess, answer, ratios={"iou_max_label_first": 1, **both}, threshold=0.5)
    assert (second.score, second.parts["completeness"]) == (0, 0)


@pytest.mark.parametrize(
    ("progress", "score"), [(0, 0.92), (0.10, 0.92), (0.11, 0), (0.25, 0), (0.26, 0), (1, 0)]
)
def test_the_dynamic_threshold_follows_the_stage(progress, score):
    for threshold in ("dynamic", {0.0: 0.85, 0.10: 0.95, 0.25: 0.99}):
        verdict = judge(DOG_GUESS, DOG, progress=progress, threshold=threshold)
        assert verdict.score == pytest.approx(score)


@pytest.mark.parametrize(
    "text",
    [
        "[{'bbox_2d': [0, 0, 100, 100], 'label': 'dog'}]",
        '[{"bbox_2d": [0, 0, 100, 100], "label": "Dog"}]',
        "[[{'bbox_2d': [0, 0, 100, 100], 'label': 'dog'}]]",
        "[{'bbox_2d': [0, 0, 100, 100], 'label': 'dog'}, {'bbox_2d': [1, 2",
        '```json\n[{"bbox_2d": [0, 0, 100, 100], "label": "dog"}]\n```',
        "[{'bbox_2d': [0, 0, 100, 100], 'label': 'dog'}, {'bbox_2d':[0,0,100,100],'label':'cat'}]",
        "[{'bbox_2d': [0, 0, 100, 100], 'label': 'dog'}, {'bbox_2d':[5,5,1,1],'label':'dog'}]",
        "[{'bbox_2d': [0, 0, 100, 100], 'label': 'dog'}, {'bbox_2d':[5,5,9],'label':'dog'}, {}]",
        "[{'bbox_2d': [0, 0, 100, 100], 'label': 'd\\og'}]",
        "{'bbox_2d': [0, 0, 100, 100], 'label': 'dog'}",
    ],
)
def test_lists_are_read_as_models_write_them(text):
    assert judge(text, DOG).score == 1


@pytest.mark.parametrize("text", ["", "none", "[{]", "[{'label': 'dog'}]", "[NaN]", "{", "[[[["])
def test_without_a_valid_box_there_is_no_answer(text):
    verdict = judge(text, DOG)
    assert (verdict.score, verdict.status) == (0, "no_answer")


def test_an_empty_list_is_right_only_where_there_is_nothing():
    assert judge("[]", DOG) == Verdict(score=0.0)
    assert judge("[]", []) == Verdict(score=1.0)
    assert judge(DOG, []) == Verdict(score=0.0)


@pytest.mark.parametrize(
    ("answer", "extra"),
    [
        ([{"bbox_2d": [0, 0, 1]}], {}),
        ([{"bbox_2d": [0, 0, 5, 5]}], {}),
        ([item("dog", 5, 5, 1, 1)], {}),
        ([item("dog", 0, 0, 1200, 5)], {"coordinates": "norm1000"}),
        ("nothing", {}),
        (3, {}),
    ],
)
def test_a_gold_list_that_cannot_be_right_is_an_error(answer, extra):
    assert judge(DOG, answer, extra=extra).status == "bad_gold"


def test_gold_boxes_are_cut_to_the_thousandths_that_the_model_speaks():
    extra = {"coordinates": "pixel", "width": 8624, "height": 5880}
    answer, guess = [item("x", 240, 76, 600, 320)], [item("x", 27, 12, 69, 54)]
    assert judge(guess, answer, extra=extra, coordinates="norm1000", truncate=True).score == 1
    assert judge(guess, answer, extra=extra, coordinates="norm1000").score < 1


def test_ratios_of_zero_give_zero_and_ratios_beyond_one_are_refused():
    assert judge(DOG, DOG, ratios={"map": 0}).score == 0
    for params in ({"ratios": {"map": 1.5}}, {"ratios": {"mapp": 1}}, {"size_penalty": 2}):
        with pytest.raises(RewardError):
            build_verifier("detection", params)


def test_the_matchings_equal_a_naive_search():
    rng = random.Random(0)
    for _ in range(150):
        gold, guess = _scene(rng, rng.randrange(1, 6)), _scene(rng, rng.randrange(1, 7))
        ious = overlaps(gold, guess)
        same = [[first.label == second.label for second in guess] for first in gold]
        for level in (0.3, 0.5, 0.75):
            kept = [pair for pair in match_by_overlap(ious, same) if pair[0] >= level]
            assert kept == _naive_by_overlap(ious, same, level)
            assert match_by_label(ious, same, level) == _naive_by_label(ious, same, level)


def test_assignment_equals_the_best_of_all_permutations():
    rng = random.Random(1)
    for _ in range(150):
        rows, columns = rng.randrange(1, 6), rng.randrange(1, 6)
        scores = [
            [rng.choice([0, 0.25, rng.random()]) for _ in range(columns)] for _ in range(rows)
        ]
        found = assign(scores)
        used = [column for column in found if column >= 0]
        assert len(set(used)) == len(used) == min(rows, columns)
        total = sum(scores[row][column] for row, column in enumerate(found) if column >= 0)
        assert total == pytest.approx(_best_total(scores))


def test_average_precision_equals_pycocotools():
    assert tuple(np.linspace(0.5, 0.95, 10)) == COCO_THRESHOLDS
    assert tuple(np.linspace(0, 1, 101)) == COCO_RECALLS
    rng = random.Random(2)
    for _ in range(120):
        gold, guess = _scene(rng, rng.randrange(1, 9)), _scene(rng, rng.randrange(0, 12))
        names = [found.label or "" for found in gold], [found.label or "" for found in guess]
        ours = average_precisions(*names, overlaps(gold, guess))
        theirs = _pycocotools(gold, guess)
        assert (sum(ours) / 10, ours[0], ours[5]) == pytest.approx(theirs, abs=1e-12)


def test_ten_by_ten_boxes_are_judged_two_thousand_times_a_second():
    rng = random.Random(3)
    answer = [_as_item(found) for found in _scene(rng, 10)]
    guess = [_as_item(found) for found in _scene(rng, 10)]
    row = Row(id="r", source="s", prompt=[], answer=answer, verifier=())
    sample = sample_of(row, f"<answer>{json.dumps(guess)}</answer>")
    for ratios in ({"iou_max_iou_first": 1.0}, {"iou_max_label_first": 0.5, "map": 0.5}):
        judge_one = build_verifier("detection", {"ratios": ratios})
        rates = []
        for _ in range(3):
            start = time.process_time()
            for _ in range(200):
                judge_one(sample)
            rates.append(200 / (time.process_time() - start))
        assert max(rates) > 2000, f"{ratios}: {rates}"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        "[{'bbox_2d': " * 20_000,
        "{" * 500_000 + "}," * 100_000,
        "[{'bbox_2d': [1e999, 0, 1, 1], 'label': 'dog'}]",
        "[{'bbox_2d': [0, 0, 1e308, 1e308], 'label': 'dog'}]",
        "[{'bbox_2d': [0, 0, 1, " + "9" * 100_000 + "], 'label': 'dog'}]",
        "\x00[\x00]",
        "[" + "{'bbox_2d': [0, 0, 100, 100], 'label': 'dog'}," * 20_000 + "]",
    ],
)
def test_hostile_lists_get_a_finite_score_soon(text):
    start = time.perf_counter()
    verdict = judge(text, DOG, ratios={"iou_max_iou_first": 1, "map": 1})
    assert verdict.status in ("ok", "no_answer")
    assert time.perf_counter() - start < 5


def test_equal_corners_are_one_box_whatever_their_labels():
    found = read_detections("[{'bbox_2d':[0,0,1,1],'label':'a'},{'bbox_2d':[0,0,1,1],'label':'b'}]")
    assert found == [LabelledBox(box=(0, 0, 1, 1), label="a")]


def _scene(rng: random.Random, count: int) -> list[LabelledBox]:
    boxes = []
    for _ in range(count):
        left, top = rng.randrange(20), rng.randrange(20)
        box = (left, top, left + rng.randrange(8, 20), top + rng.randrange(8, 20))
        boxes.append(LabelledBox(box=box, label=rng.choice("ab")))
    return boxes


def _as_item(found: LabelledBox) -> dict:
    return item(found.label or "", *found.box)


def _naive_by_overlap(ious, same, level):
    rows, columns, found = set(range(len(ious))), set(range(len(ious[0]))), []
    while rows and columns:
        pairs = itertools.product(sorted(rows), sorted(columns))
        row, column = max(pairs, key=lambda at: (ious[at[0]][at[1]], -at[0], -at[1]))
        if ious[row][column] < level:
            break
        found.append((ious[row][column], ious[row][column] if same[row][column] else 0.0))
        rows.remove(row)
        columns.remove(column)
    return found


def _naive_by_label(ious, same, level):
    free, found = set(range(len(ious[0]))), []
    for row, values in enumerate(ious):
        fitting = [column for column in sorted(free) if same[row][column]]
        column = max(fitting, key=lambda at: (values[at], -at), default=None)
        if column is not None and values[column] >= level:
            free.remove(column)
            found.append((values[column], values[column]))
    return found


def _best_total(scores) -> float:
    rows, columns = len(scores), len(scores[0])
    if rows <= columns:
        orders = itertools.permutations(range(columns), rows)
        return max(sum(scores[row][column] for row, column in enumerate(order)) for order in orders)
    orders = itertools.permutations(range(rows), columns)
    return max(sum(scores[row][column] for column, row in enumerate(order)) for order in orders)


def _pycocotools(gold, guess) -> tuple[float, float, float]:
    numbers = {
        label: index + 1 for index, label in enumerate(sorted({found.label for found in gold}))
    }
    annotations = [
        {
            "id": index + 1,
            "image_id": 1,
            "category_id": numbers[found.label],
            "bbox": _xywh(found.box),
            "area": _xywh(found.box)[2] * _xywh(found.box)[3],
            "iscrowd": 0,
        }
        for index, found in enumerate(gold)
    ]
    results = [
        {"image_id": 1, "category_id": numbers[found.label], "bbox": _xywh(found.box), "score": 1.0}
        for found in guess
        if found.label in numbers
    ]
    if not results:
        return 0.0, 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": 1}],
            "annotations": annotations,
            "categories": [{"id": number} for number in numbers.values()],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1], evaluation.stats[2]


def _xywh(box) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def test_the_overlap_used_by_the_matchings_is_the_iou_of_the_boxes():
    first, second = LabelledBox(box=(0, 0, 2, 2)), LabelledBox(box=(1, 1, 3, 3))
    assert overlaps([first], [second]) == [[iou(first.box, second.box)]]
