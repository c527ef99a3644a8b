"""`box`: overlaps in every space, thresholds by schedule, and gold boxes that must be refused."""

from __future__ import annotations

import random

import pytest

from mmrl.coordinates import Frame, box_problem, convert, spoken_by
from mmrl.data.golds import check_golds
from mmrl.errors import RewardError
from mmrl.judging.panel import Panel
from mmrl.reward import build_verifier, gold_text, sample_of
from mmrl.types import Row, Verdict, VerifierTerm
from mmrl.verify.boxes import giou, iou
from mmrl.verify.reading import read_box


def judge(text: str, answer, *, progress: float = 0.0, extra=None, **params) -> Verdict:
    row = Row(id="r", source="s", prompt=[], answer=answer, verifier=(), extra=extra or {})
    return build_verifier("box", params)(sample_of(row, text, progress=progress))


def tag(text: str) -> str:
    return f"<think>somewhere</think><answer>{text}</answer>"


@pytest.mark.parametrize(
    ("params", "progress", "score"),
    [
        ({}, 0, 0.92),
        ({"threshold": 0.92}, 0, 0.92),
        ({"threshold": 0.921}, 0, 0),
        ({"threshold": 0.92, "strict": True}, 0, 0),
        ({"threshold": 0.5, "binary": True}, 0, 1),
        ({"threshold": {0.0: 0.85, 0.10: 0.95, 0.25: 0.99}}, 0.10, 0.92),
        ({"threshold": {0.0: 0.85, 0.10: 0.95, 0.25: 0.99}}, 0.11, 0),
        ({"threshold": {"0": 0.85, "0.1": 0.95}}, 0.1, 0.92),
    ],
)
def test_the_iou_counts_where_it_reaches_the_threshold(params, progress, score):
    verdict = judge(tag("[0, 0, 100, 92]"), [0, 0, 100, 100], progress=progress, **params)
    assert verdict.status == "ok"
    assert verdict.score == pytest.approx(score)
    assert verdict.parts == {"iou": pytest.approx(0.92)}


@pytest.mark.parametrize(("bottom", "score"), [(50, 0), (51, 1)])
def test_curr_reft_pays_fully_above_a_half_and_nothing_at_it(bottom, score):
    params = {"threshold": 0.5, "binary": True, "strict": True}
    assert judge(tag(f"[0, 0, 100, {bottom}]"), [0, 0, 100, 100], **params).score == score


@pytest.mark.parametrize(
    "text",
    [
        "[1, 1, 3, 3]",
        "1, 1, 3, 3",
        "1 1 3 3",
        "(1,1),(3,3)",
        "[[1, 1, 3, 3]]",
        '{"bbox_2d": [1, 1, 3, 3], "label": "cat"}',
        '```json\n[{"bbox_2d": [1, 1, 3, 3], "label": "cat"}]\n```',
        "['Position': [1, 1, 3, 3], 'Confidence': 0.9]",
        "{'bbox_2d': [1.0, 1.0, 3e0, 3]}",
        "The 2 cats are at [1, 1, 3, 3]",
        "<box>1 1 3 3</box>",
    ],
)
def test_every_spelling_of_a_box_is_read(text):
    assert judge(tag(text), [0, 0, 2, 2]).score == pytest.approx(1 / 7)


@pytest.mark.parametrize(
    "text",
    ["", "none", "[1, 2, 3]", "1 2 3 4 5", "[1, 2, 3, NaN]", "[Infinity,0,1,1]", "[1e999,0,1,1]"],
)
def test_an_answer_without_a_box_is_no_answer(text):
    assert (judge(tag(text), [0, 0, 2, 2]).score, judge(tag(text), [0, 0, 2, 2]).status) == (
        0,
        "no_answer",
    )


def test_a_reversed_prediction_is_wrong_and_not_unjudged():
    assert judge(tag("[2, 2, 0, 0]"), [0, 0, 2, 2]) == Verdict(score=0.0, parts={"iou": 0.0})


def test_text_outside_the_tag_counts_only_when_asked_for():
    assert judge("[0, 0, 2, 2]", [0, 0, 2, 2]).status == "no_answer"
    assert judge("[0, 0, 2, 2]", [0, 0, 2, 2], whole_text=True).score == 1


@pytest.mark.parametrize(
    ("answer", "extra", "why"),
    [
        ([0.1, 0.1, 1.5, 0.9], {"coordinates": "unit"}, "beyond the unit space"),
        ([10, 10, 5, 20], {}, "no area"),
        ([-1, 0, 5, 5], {}, "negative"),
        ([0, 0, 1200, 10], {"coordinates": "norm1000"}, "beyond the norm1000 space"),
        ([0, 0, 700, 10], {"coordinates": "pixel", "width": 640, "height": 480}, "ends at 640"),
        ([0.1, 0.1, 0.5, 0.9], {"coordinates": "norm1000"}, "looks like unit"),
        ([0, 0, 1, 1], {"coordinates": "percent"}, "percent"),
        ([0, 0, 9, 9], {"width": 0, "height": 5}, "no image size"),
        ("a dog", {}, "no box"),
        (None, {}, "no box"),
    ],
)
def test_a_gold_box_in_the_wrong_space_is_an_error_and_not_a_low_score(answer, extra, why):
    verdict = judge(tag("[0, 0, 2, 2]"), answer, extra=extra)
    assert (verdict.score, verdict.status) == (None, "bad_gold")
    assert why in verdict.detail


@pytest.mark.parametrize(
    ("extra", "params", "text"),
    [
        (
            {"coordinates": "pixel", "width": 200, "height": 100},
            {"coordinates": "norm1000"},
            "[50,100,250,500]",
        ),
        (
            {"coordinates": "pixel", "width": 200, "height": 100},
            {"coordinates": "unit"},
            "[.05,.1,.25,.5]",
        ),
        (
            {"coordinates": "pixel"},
            {"coordinates": "norm1000", "image_size": [200, 100]},
            "[50,100,250,500]",
        ),
        (
            {
                "coordinates": "pixel",
                "width": 200,
                "height": 100,
                "seen_width": 400,
                "seen_height": 50,
            },
            {"coordinates": "pixel"},
            "[20,5,100,25]",
        ),
        (
            {"coordinates": "pixel"},
            {"image_size": [200, 100], "seen_size": [400, 50]},
            "[20,5,100,25]",
        ),
        ({"coordinates": "pixel"}, {}, "[10,10,50,50]"),
    ],
)
def test_the_model_may_speak_another_space_than_the_row(extra, params, text):
    assert judge(tag(text), [10, 10, 50, 50], extra=extra, **params).score == pytest.approx(1)


def test_pixels_of_an_image_of_unknown_size_cannot_be_converted():
    verdict = judge(
        tag("[1,1,2,2]"), [1, 1, 2, 2], extra={"coordinates": "pixel"}, coordinates="unit"
    )
    assert verdict.status == "bad_gold"
    assert "size of the image" in verdict.detail


@pytest.mark.parametrize("name", ["box", "detection", "vision_criteria"])
@pytest.mark.parametrize("spoken", ["pixel", "norm1000", "unit"])
@pytest.mark.parametrize("given", ["pixel", "norm1000", "unit"])
def test_the_right_completion_is_right_in_every_pair_of_spaces(name, spoken, given):
    extra = {"coordinates": given, "width": 640, "height": 480, "seen_width": 64, "seen_height": 96}
    box = [0.1, 0.2, 0.5, 0.75]
    scale = {"pixel": (640, 480), "norm1000": (1000, 1000), "unit": (1, 1)}[given]
    box = [value * scale[axis % 2] for axis, value in enumerate(box)]
    answer = box if name == "box" else [{"bbox_2d": box, "label": "cat"}]
    row = Row(id="r", source="s", prompt=[], answer=answer, verifier=(), extra=extra)
    params = {"coordinates": spoken}
    text = gold_text(row, VerifierTerm(name=name, params=params))
    score = build_verifier(name, params)(sample_of(row, text)).score
    assert score == pytest.approx(3 if name == "vision_criteria" else 1)


def test_conversion_there_and_back_changes_nothing():
    rng = random.Random(0)
    frames = [Frame(space="pixel", size=(640, 480)), Frame(space="norm1000"), Frame(space="unit")]
    for _ in range(100):
        values = [rng.uniform(0, 1) for _ in range(4)]
        for first in frames:
            for second in frames:
                there = convert(convert(values, first, second), second, first)
                assert there == pytest.approx(values)


def test_v_triune_cuts_to_thousandths():
    pixel = Frame(space="pixel", size=(8624, 5880))
    box = convert([240, 76, 600, 320], pixel, Frame(space="norm1000"), truncate=True)
    assert box == (27, 12, 69, 54)


def test_iou_and_giou_agree_with_counted_cells():
    rng = random.Random(1)
    for _ in range(200):
        first, second = (_random_box(rng) for _ in range(2))
        cells_first, cells_second = _cells(first), _cells(second)
        union = cells_first | cells_second
        overlap = len(cells_first & cells_second) / len(union)
        hull = _cells((*map(min, first[:2], second[:2]), *map(max, first[2:], second[2:])))
        assert iou(first, second) == pytest.approx(overlap)
        assert giou(first, second) == pytest.approx(overlap - (len(hull) - len(union)) / len(hull))
        closed = (
            _cells((*first[:2], first[2] + 1, first[3] + 1)),
            _cells((*second[:2], second[2] + 1, second[3] + 1)),
        )
        expected = len(closed[0] & closed[1]) / len(closed[0] | closed[1])
        assert iou(first, second, inclusive=True) == pytest.approx(expected)


def test_giou_of_boxes_apart_is_negative():
    verdict = judge(tag("[3, 0, 4, 1]"), [0, 0, 1, 1], measure="giou")
    assert verdict == Verdict(score=-0.5, parts={"giou": -0.5})


@pytest.mark.parametrize("huge", ["1e308", "-1e308", "9" * 39, "1" * 1_000_000])
def test_huge_numbers_give_a_finite_score(huge):
    for params in ({}, {"measure": "giou"}, {"coordinates": "unit", "image_size": [5, 5]}):
        verdict = judge(tag(f"[0, 0, {huge}, {huge}]"), [0, 0, 1, 1], **params)
        assert verdict.status in ("ok", "no_answer"), verdict


@pytest.mark.parametrize(
    "text", ["[" * 50_000 + "]" * 50_000, "(" * 1_000_000, '{"a":' * 50_000, "\x00" * 1000]
)
def test_brackets_without_end_are_no_box(text):
    assert read_box(text) is None


@pytest.mark.parametrize(
    "params",
    [
        {"binary": True},
        {"threshold": 85},
        {"threshold": {0: 0.5, 0.5: 1.5}},
        {"measure": "giou", "inclusive": True},
        {"treshold": 1},
        {"threshold": "high"},
        {"measure": "x"},
    ],
)
def test_parameters_that_make_no_sense_are_refused(params):
    with pytest.raises(RewardError, match="box"):
        build_verifier("box", params)


def test_a_row_learns_from_the_family_which_space_the_model_speaks():
    terms = tuple(
        VerifierTerm(name=name, params=params)
        for name, params in (("box", {}), ("box", {"coordinates": "unit"}), ("exact", {}))
    )
    row = Row(id="r", source="s", prompt=[], answer=[1, 2, 3, 4], verifier=terms)
    found = [dict(term.params) for term in spoken_by(row, "norm1000").verifier]
    assert found == [{"coordinates": "norm1000"}, {"coordinates": "unit"}, {}]


def test_the_check_of_the_data_names_the_row_whose_box_is_in_the_wrong_space():
    term = VerifierTerm(name="box", params={"coordinates": "norm1000"})
    given = {"prompt": [], "source": "s", "verifier": (term,)}
    boxes = {"good": [0.1, 0.1, 0.5, 0.5], "wrong": [10, 10, 50, 50], "other": [0.2, 0.1, 0.5, 0.9]}
    rows = [
        Row(id=name, answer=box, extra={"coordinates": "unit"}, **given)
        for name, box in boxes.items()
    ]
    panel = Panel()
    errors = check_golds(rows, panel).errors
    panel.close()
    assert len(errors) == 1
    assert "wrong" in str(errors[0])
    assert "beyond the unit space" in str(errors[0])


def test_a_unit_box_on_the_border_is_in_its_space():
    assert box_problem((0, 0, 1, 1), Frame(space="unit")) == ""


def _random_box(rng: random.Random) -> tuple[int, int, int, int]:
    left, top = rng.randrange(10), rng.randrange(10)
    return left, top, left + rng.randrange(1, 8), top + rng.randrange(1, 8)


def _cells(box) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}
