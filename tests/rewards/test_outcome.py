from __future__ import annotations

import json

import pytest

from mmrl.errors import RewardError
from mmrl.judging.panel import Panel
from mmrl.reward import self_test
from mmrl.types import Row, VerifierTerm


@pytest.mark.parametrize(
    ("gold", "text", "partial", "score"),
    [
        ("AC", "A,C", 0.5, 1.0),
        ("AC", "A", 0.5, 0.5),
        ("AC", "A,B", 0.5, 0.0),
        ("AC", "C A", 0.5, 1.0),
        ("A,B", "B,A", 0.0, 1.0),
        ("A,B", "a, B, A", 0.0, 1.0),
        ("A,B", "A", 0.0, 0.0),
        ("A,B", "A", 0.2, 0.2),
        (["A", "C"], "A and C", 0.0, 1.0),
        ("AC", "I think A, C", 0.0, 1.0),
        ("AC", "A, B, C, D", 0.5, 0.0),
    ],
)
def test_multi_select_wants_the_set_whatever_its_order(judge, gold, text, partial, score):
    verdict = judge("multi_select", gold, f"<answer>{text}</answer>", partial=partial)
    assert verdict.score == score


def test_multi_select_without_letters_is_no_answer(judge):
    assert judge("multi_select", "AC", "<answer>neither</answer>").status == "no_answer"
    assert judge("multi_select", "42", "<answer>A</answer>").status == "bad_gold"


@pytest.mark.parametrize(
    ("gold", "text", "loose", "strict"),
    [
        (100, 100, 1.0, 1.0),
        (100, 95, 1.0, 0.9),
        (100, 92, 0.9, 0.9),
        (100, 90, 0.9, 0.8),
        (100, 80, 0.7, 0.6),
        (100, 77, 0.6, 0.6),
        (100, 50, 0.1, 0.0),
        (100, 49, 0.0, 0.0),
        ("4.0", "3.2", 0.7, 0.6),
        (10, 12, 0.7, 0.6),
        (10, 15, 0.1, 0.0),
        (10, 16, 0.0, 0.0),
        (4, 3, 0.6, 0.5),
        (0, 0, 1.0, 1.0),
        (0, 1, 0.0, 0.0),
        (-100, -95, 1.0, 0.9),
    ],
)
def test_mean_relative_accuracy_counts_the_tolerances_that_are_kept(
    judge, gold, text, loose, strict
):
    assert judge("mra", gold, f"<answer>{text}</answer>").score == pytest.approx(loose)
    assert judge("mra", gold, f"<answer>{text}</answer>", strict=True).score == pytest.approx(
        strict
    )


@pytest.mark.parametrize(
    ("gold", "text", "score"),
    [(10, 9, 0.9), (10, 11, 0.9), (10, 30, 0.0), (0, 0, 1.0), (0, 1, 0.0), (-4, -3, 0.75)],
)
def test_regression_gives_credit_for_closeness(judge, gold, text, score):
    assert judge("regression", gold, f"<answer>{text}</answer>").score == pytest.approx(score)


@pytest.mark.parametrize(
    ("gold", "text", "exact", "relative"),
    [
        (3, "3", 1.0, 1.0),
        (3, "three", 1.0, 1.0),
        (21, "twenty-one cats", 1.0, 1.0),
        (40, "Forty", 1.0, 1.0),
        (3, "about 4", 0.0, 2 / 3),
        (3, "9", 0.0, 0.0),
        (0, "1", 0.0, 0.0),
        (0, "zero", 1.0, 1.0),
        ("12", "twelve", 1.0, 1.0),
    ],
)
def test_a_count_may_be_in_digits_or_in_words(judge, gold, text, exact, relative):
    assert judge("count", gold, f"<answer>{text}</answer>").score == exact
    found = judge("count", gold, f"<answer>{text}</answer>", credit="relative").score
    assert found == pytest.approx(relative)


def test_a_count_that_is_no_whole_number_is_no_answer(judge):
    for text in ("none", "2.5", "many"):
        assert judge("count", 3, f"<answer>{text}</answer>").status == "no_answer"
    assert judge("count", "2.5", "<answer>2</answer>").status == "bad_gold"


@pytest.mark.parametrize(
    ("metric", "score"),
    # the (4 of 6 and 4 of 5 unigrams), (1 of 5 and 1 of 4 bigrams), longest common subsequence 4
    [
        ("rouge1", 8 / 11),
        ("rouge2", 2 / 9),
        ("rougeL", 8 / 11),
        ("rouge", (8 / 11 + 2 / 9 + 8 / 11) / 3),
        ("wer", 1 - 2 / 6),
        ("anls", 1 - 7 / 22),
    ],
)
def test_text_is_measured_as_the_metric_says(judge, metric, score):
    gold, text = "the cat sat on the mat", "<answer>the cat on a mat</answer>"
    assert judge("text", gold, text, metric=metric).score == pytest.approx(score)


@pytest.mark.parametrize("metric", ["rouge1", "rouge2", "rougeL", "rouge", "anls", "wer"])
def test_text_takes_the_best_of_several_references(judge, metric):
    verdict = judge(
        "text", ["a dog barks", "the cat sat"], "<answer>the cat sat</answer>", metric=metric
    )
    assert verdict.score == pytest.approx(1.0)
    assert judge("text", ["", "x"], "<answer>x</answer>", metric=metric).status == "bad_gold"


def test_one_word_has_no_bigrams_to_be_measured_by(judge):
    assert judge("text", "sad", "<answer>sad</answer>", metric="rouge").score == 1.0
    assert judge("text", "sad", "<answer>sad</answer>", metric="rouge2").status == "bad_gold"


def test_word_error_rate_does_not_go_below_nothing(judge):
    assert judge("text", "a", "<answer>b c d e</answer>", metric="wer").score == 0.0


@pytest.mark.parametrize(
    ("text", "params", "score"),
    [
        ("veined", {"mode": "no_thinking"}, 1.0),
        ("Veined", {"mode": "no_thinking"}, 0.0),
        ("<answer>veined</answer>", {"mode": "no_thinking"}, 0.0),
        ("<think>x</think><answer>Veined</answer>", {}, 1.0),
        ("<think>x</think><answer>Veined</answer>", {"with_format": True}, 2.0),
        ("<answer>Veined</answer>", {"with_format": True}, 1.0),
        ("<answer>veined</answer> <reason>x</reason>", {"mode": "after", "with_format": True}, 2.0),
        ("<answer>veined</answer>", {"mode": "after", "with_format": True}, 1.0),
        ("<answer>veined</answer>", {"mode": "adaptive", "with_format": True}, 2.0),
        (
            "<think>x</think> <answer>veined</answer>",
            {"mode": "adaptive", "with_format": True},
            2.0,
        ),
        ("It is veined.", {"contains": True}, 1.0),
        ("It is unveined.", {"contains": True}, 0.0),
        ("<answer>a veined leaf</answer>", {"contains": True}, 1.0),
        ("<answer>a veined leaf</answer>", {}, 0.0),
    ],
)
def test_a_class_label_is_judged_by_its_mode(judge, text, params, score):
    assert judge("class_label", "veined", text, **params).score == score


MATH = [
    ("42", "42", 1.0),
    ("0.5", r"\frac{1}{2}", 1.0),
    ("42", "42 apples", 1.0),
    ("5", "5x", 0.0),
    ("5", "x = 5", 1.0),
    (r"\frac{\pi}{3}", "pi/3", 1.0),
    ("1000", "1,000", 1.0),
    (r"\{1,2\}", r"\{2,1\}", 1.0),
    ("12 cm^2", "12", 1.0),
    (r"\sqrt{8}", r"2\sqrt{2}", 1.0),
    ("yes", "Yes", 1.0),
    ("42", "43", 0.0),
    ("42", r"The answer is \boxed{42}", 1.0),
    ("x^2-1", "(x-1)(x+1)", 1.0),
    ("50", "50\\%", 1.0),
    ("x^2-1", "x^2+1", 0.0),
    ("(1,2)", "(1,3)", 0.0),
    ("1", "", 0.0),
    ("sqrt(2)/2", r"\frac{1}{\sqrt{2}}", 1.0),
]


def math_rows(golds, **params) -> list[Row]:
    term = VerifierTerm(name="math", params=params)
    return [
        Row(id=str(i), source="s", prompt=[], answer=gold, verifier=(term,), where="f:1")
        for i, gold in enumerate(golds)
    ]


@pytest.fixture(scope="module")
def panel():
    panel = Panel(timeout_s=4.0, memory_mb=1024)
    yield panel
    panel.close()


def in_pool(panel, gold, text, **params):
    from mmrl.reward import sample_of

    row = math_rows([gold], **params)[0]
    return panel.judge(row.verifier[0], [[sample_of(row, text)]])[0][0]


@pytest.mark.parametrize(("gold", "text", "score"), MATH)
def test_math_compares_values_and_not_spellings(panel, gold, text, score):
    assert in_pool(panel, gold, f"<answer>{text}</answer>").score == score


@pytest.mark.parametrize(
    ("text", "gold", "score"),
    [
        ("42", "42", 0.0),
        ("42", r"\boxed{42}", 0.0),
        (r"\boxed{42}", "42", 1.0),
        (r"\boxed{42}", r"\boxed{42}", 1.0),
    ],
)
def test_an_answer_without_a_box_is_never_right_where_boxes_are_asked_for(panel, text, gold, score):
    assert in_pool(panel, gold, text, boxed_only=True).score == score
    assert in_pool(panel, gold, f"<answer>{text}</answer>", boxed_only=True).score == score


def test_math_that_explodes_is_not_judged_and_its_neighbours_are(panel):
    from mmrl.reward import sample_of

    row = math_rows(["42"])[0]
    texts = [
        r"\boxed{42}",
        r"\boxed{9^{9^{9^9}}}",
        r"\boxed{" + "(" * 50_000 + "1" + "}",
        r"\boxed{41}",
    ]
    verdicts = panel.judge(row.verifier[0], [[sample_of(row, text) for text in texts]])[0]
    assert [v.score for v in verdicts] == [1.0, None, None, 0.0]
    assert {v.status for v in verdicts[1:3]} <= {"timeout", "error"}


def test_the_self_test_stops_verifiers_that_cannot_tell_right_from_wrong():
    self_test(math_rows(["42", r"\frac{1}{2}", "0.5"]))
    with pytest.raises(RewardError, match="row 0: math gives its own answer no score"):
        self_test(math_rows([""]))
    loose = VerifierTerm(name="number", params={"abs_tol": 10})
    rows = [
        Row(id=str(i), source="s", prompt=[], answer=str(i), verifier=(loose,), where="f:1")
        for i in range(3)
    ]
    with pytest.raises(RewardError, match="answers of other rows as much"):
        self_test(rows)


@pytest.mark.parametrize(
    ("name", "params", "answers"),
    [
        ("exact", {}, ["a", "b"]),
        ("choice", {}, ["A", "B"]),
        ("multi_select", {}, ["AB", "BC"]),
        ("number", {}, ["1", "2.5"]),
        ("mra", {}, [1, 2]),
        ("regression", {}, [1, 2.5]),
        ("math", {"boxed_only": True}, ["1", "x"]),
        ("text", {"metric": "rouge"}, ["a b", ["c d", "e"]]),
        ("class_label", {"mode": "no_thinking"}, ["cat", "dog"]),
        ("count", {}, [3, "four"]),
        ("permutation", {}, [[1, 2, 3], [3, 2, 1]]),
    ],
)
def test_every_outcome_verifier_passes_its_own_self_test(name, params, answers):
    term = VerifierTerm(name=name, params=params)
    self_test(
        [
            Row(id=json.dumps(a), source="s", prompt=[], answer=a, verifier=(term,), where="f:1")
            for a in answers
        ]
    )
