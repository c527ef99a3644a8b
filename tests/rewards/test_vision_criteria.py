"""`vision_criteria`: the two-threshold function, both phases, the released code's variant,
formats."""

from __future__ import annotations

import json
import time

import pytest

from mmrl.errors import RewardError
from mmrl.reward import build_verifier, gold_text, sample_of
from mmrl.types import Row, Verdict, VerifierTerm


def judge(boxes, answer, *, progress: float = 0.0, extra=None, **params) -> Verdict:
    row = Row(id="r", source="s", prompt=[], answer=answer, verifier=(), extra=extra or {})
    text = boxes if isinstance(boxes, str) else json.dumps(boxes)
    return build_verifier("vision_criteria", params)(sample_of(row, text, progress=progress))


def item(*box: float, label: str = "dog") -> dict:
    return {"bbox_2d": list(box), "label": label}


def row_of_boxes(count: int) -> list[dict]:
    return [item(200 * index, 0, 200 * index + 100, 100) for index in range(count)]


def guesses(*overlaps: float) -> list[dict]:
    """Boxes that overlap the gold boxes, one after the other, by these IoUs."""
    return [
        item(200 * index, 0, 200 * index + 100, 100 * overlap)
        for index, overlap in enumerate(overlaps)
    ]


@pytest.mark.parametrize(
    ("overlap", "begin", "advanced"),
    [
        (0.3, 0, 0),
        (0.5, 0.5, 0),
        (0.6, 0.6, 0),
        (0.74, 0.74, 0),
        (0.75, 1, 0.75),
        (0.8, 1, 0.8),
        (0.9, 1, 1),
    ],
)
def test_an_overlap_counts_nothing_itself_or_fully(overlap, begin, advanced):
    first = judge(guesses(overlap), row_of_boxes(1), progress=0.5)
    second = judge(guesses(overlap), row_of_boxes(1), progress=0.51)
    assert first.parts["precision"] == pytest.approx(begin)
    assert second.parts["precision"] == pytest.approx(advanced)


@pytest.mark.parametrize(
    ("progress", "refine", "recall", "precision"),
    [(0, True, 0.6, 0.65), (0, False, 0.6, 0.58), (1, True, 0, 0.45), (1, False, 0.4, 0.43)],
)
def test_recall_is_refined_as_a_whole_and_precision_by_pair(progress, refine, recall, precision):
    guess = guesses(0.92, 0.8, 0.6, 0.3)
    verdict = judge(guess, row_of_boxes(5), progress=progress, refine=refine)
    parts = {"format": 1, "recall": recall, "precision": precision}
    assert verdict.parts == pytest.approx(parts | {"valid_iou": 0.75 if progress else 0.5})
    assert verdict.score == pytest.approx(1 + recall + precision)


def test_the_levels_never_rise_with_a_step_of_one():
    assert judge(guesses(0.6), row_of_boxes(1), progress=1, step=1).parts["precision"] == 0.6


def test_the_order_of_the_predictions_does_not_matter():
    guess = guesses(0.92, 0.8, 0.6)
    assert judge(guess[::-1], row_of_boxes(3)) == judge(guess, row_of_boxes(3))


def test_the_released_code_wants_levels_exceeded_and_keeps_its_recall_levels():
    code = {"variant": "code"}
    assert judge(guesses(0.5), row_of_boxes(1), **code).parts["precision"] == 0
    late = judge(guesses(0.92, 0.8, 0.6, 0.3), row_of_boxes(5), progress=1, **code)
    assert late.parts == pytest.approx(
        {"format": 1, "recall": 0, "precision": 0.45, "valid_iou": late.parts["valid_iou"]}
    )
    six_of_ten = judge(guesses(*[0.8] * 6), row_of_boxes(10), progress=1, **code)
    assert six_of_ten.parts["recall"] == pytest.approx(0.6)
    plain = judge(guesses(0.92, 0.8, 0.6, 0.3), row_of_boxes(5), refine=False, **code)
    assert plain.parts == pytest.approx(
        {"format": 1, "recall": 0.6, "precision": 2.62 / 4, "valid_iou": plain.parts["valid_iou"]}
    )


def test_the_released_code_measures_generalised_overlap():
    far = [item(100, 0, 200, 100)]
    verdict = judge(far, row_of_boxes(1), variant="code", refine=False)
    assert verdict.parts["precision"] == 0
    shifted = [item(50, 0, 150, 100)]
    paper = judge(shifted, row_of_boxes(1), begin=[0, 0, 1])
    assert paper.parts["precision"] == pytest.approx(1 / 3)


def test_labels_matter_only_when_asked_for():
    guess = [item(0, 0, 100, 100, label="cat")]
    assert judge(guess, row_of_boxes(1)).score == 3
    assert judge(guess, row_of_boxes(1), match_labels=True).score == 1


@pytest.mark.parametrize(
    ("text", "well_formed"),
    [
        ('[{"bbox_2d": [0, 0, 100, 100], "label": "dog"}]', 1),
        ('```json\n[{"bbox_2d": [0, 0, 100, 100], "label": "dog"}]\n```', 1),
        ('<think>x</think><answer>[{"bbox_2d": [0, 0, 100, 100], "label": "dog"}]</answer>', 1),
        ('[{"bbox_2d": [0, 0, 100, 100]}]', 0),
        (
            '[{"bbox_2d": [0, 0, 100, 100], "label": "dog"}, {"bbox_2d": [5, 5, 1], "label": "x"}]',
            0,
        ),
        (
            '[{"bbox_2d": [0, 0, 100, 100], "label": "dog"}, {"bbox_2d": [9, 9, 1, 1]}]',
            0,
        ),
        ("[[0, 0, 100, 100]]", 0),
        ("[{'bbox_2d': [0, 0, 100, 100], 'label': 'dog'}]", 0),
        ('Here: [{"bbox_2d": [0, 0, 100, 100], "label": "dog"}]', 0),
        ('[{"bbox_2d": [0, 0, 100, 100], "label": "dog"}, {"bb', 0),
    ],
)
def test_the_format_needs_every_item_to_be_a_labelled_box(text, well_formed):
    verdict = judge(text, row_of_boxes(1))
    assert verdict.parts["format"] == well_formed
    assert verdict.parts["recall"] == 1


@pytest.mark.parametrize("text", ["", "two dogs", "7", "[{]", "[" * 50_000, '"x"', "[NaN]"])
def test_no_list_is_no_answer(text):
    verdict = judge(text, row_of_boxes(1))
    assert (verdict.score, verdict.status) == (0, "no_answer")


def test_coordinates_have_to_fit_the_space_that_the_model_speaks():
    extra = {"coordinates": "pixel", "width": 500, "height": 250}
    answer = [item(0, 0, 250, 250)]
    params = {"coordinates": "norm1000", "extra": extra}
    assert judge([item(0, 0, 500, 1000)], answer, **params).score == 3
    assert judge([item(0, 0, 500, 1100)], answer, **params).parts["format"] == 0


def test_where_there_is_nothing_only_silence_is_right():
    assert judge("[]", []).score == judge("nothing there", []).score == 3
    assert judge(row_of_boxes(1), []).score == 0
    assert judge("[]", row_of_boxes(1)).parts == {
        "format": 1,
        "recall": 0,
        "precision": 0,
        "valid_iou": 0.5,
    }


def test_gold_gets_all_three_points_in_any_space():
    extra = {"coordinates": "pixel", "width": 500, "height": 250}
    row = Row(id="r", source="s", prompt=[], answer=row_of_boxes(2), verifier=(), extra=extra)
    for params in ({}, {"coordinates": "unit"}, {"coordinates": "norm1000"}):
        text = gold_text(row, VerifierTerm(name="vision_criteria", params=params))
        assert judge(text, row.answer, extra=extra, **params).score == pytest.approx(3)


@pytest.mark.parametrize(
    "params", [{"begin": [0.5, 0.8, 0.7]}, {"advanced": [2, 0, 1]}, {"step": "x"}]
)
def test_levels_out_of_order_are_refused(params):
    with pytest.raises(RewardError):
        build_verifier("vision_criteria", params)


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_ten_thousand_predictions_are_assigned_in_time(variant):
    guess = [item(i % 97, i % 89, 100 + i % 997, 100 + i % 991) for i in range(10_000)]
    guess.append(item(0, 0, 1e308, 1e308))
    start = time.perf_counter()
    verdict = judge(guess, row_of_boxes(5), variant=variant)
    assert verdict.status == "ok"
    assert time.perf_counter() - start < 5
