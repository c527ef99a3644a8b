from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("answer", "text", "score"),
    [
        ("Sad", "<answer> sad </answer>", 1.0),
        ("a b", "<answer>A  b</answer>", 1.0),
        ("42", r"\boxed{4} <answer>42</answer>", 1.0),
        ("42", r"so \boxed{\text{x}} and \boxed{42}", 1.0),
        ("42", "<answer>41</answer><answer>42</answer>", 1.0),
        ("42", "<answer>42</answer><answer>41</answer>", 0.0),
        (7, "<answer>7</answer>", 1.0),
    ],
)
def test_exact_compares_the_last_answer(judge, answer, text, score):
    assert judge("exact", answer, text).score == score


def test_exact_can_mind_the_case(judge):
    assert judge("exact", "veined", "<answer>Veined</answer>", case=True).score == 0.0


def test_nothing_to_judge_is_no_answer_and_not_an_error(judge):
    for text in ("42", "<answer></answer>", "<answer>42", r"\boxed{42", ""):
        verdict = judge("exact", "42", text)
        assert (verdict.score, verdict.status) == (0.0, "no_answer")
    assert judge("exact", "42", "<think>41</think> 42", whole_text=True).score == 1.0


@pytest.mark.parametrize(
    ("answer", "text", "params", "score"),
    [
        ("42", "42", {}, 1.0),
        ("42", "It is 42.", {}, 1.0),
        ("1000", "$1,000", {}, 1.0),
        ("50", "50%", {}, 1.0),
        ("14", "14 years", {}, 1.0),
        ("0.25", r"\frac{1}{4}", {}, 1.0),
        ("1/4", "0.25", {}, 1.0),
        ("-3", "\u22123", {}, 1.0),
        ("5", "5 cm^2", {}, 1.0),
        ("0.0", "-0.0", {}, 1.0),
        ("0.7", "0.8", {"abs_tol": 0.1}, 1.0),
        ("0.7", "0.81", {"abs_tol": 0.1}, 0.0),
        ("200", "210", {"rel_tol": 0.05}, 1.0),
        ("200", "211", {"rel_tol": 0.05}, 0.0),
        ("3.14", "3.1416", {"decimals": 2}, 1.0),
        ("3.0", "3", {"decimals": 2, "same_style": True}, 0.0),
        ("3.0", "3.00", {"decimals": 2, "same_style": True}, 1.0),
        ("1e3", "1000", {}, 1.0),
    ],
)
def test_a_number_is_compared_within_its_tolerance(judge, answer, text, params, score):
    assert judge("number", answer, f"<answer>{text}</answer>", **params).score == score


def test_a_number_that_is_none_is_no_answer(judge):
    for text in ("none", "9" * 5000, "1e999999999", "nan", "inf", "1/0"):
        assert judge("number", "1", f"<answer>{text}</answer>").status == "no_answer"
    assert judge("number", "many", "<answer>1</answer>").status == "bad_gold"


GRID = "5, 1, 3, 7, 9, 2, 4, 8, 6"


@pytest.mark.parametrize(
    ("text", "partial", "score"),
    [
        (GRID, 0.0, 1.0),
        ("[5 1 3; 7 9 2; 4 8 6]", 0.0, 1.0),
        ("1, 5, 3, 7, 9, 2, 4, 8, 6", 0.0, 0.0),
        ("1, 5, 3, 7, 9, 2, 4, 8, 6", 0.2, 0.2 * 7 / 9),
        ("5, 1, 3, 7, 9, 2, 4, 8, 5", 0.2, 0.0),
        ("5, 1, 3, 7, 9, 2, 4, 8, 66", 0.2, 0.0),
        ("5, 1, 3", 1.0, 0.0),
    ],
)
def test_a_permutation_earns_part_credit_only_when_it_is_one(judge, text, partial, score):
    verdict = judge("permutation", GRID, f"<answer>{text}</answer>", partial=partial)
    assert verdict.score == pytest.approx(score)


def test_a_permutation_may_be_of_names_and_the_gold_a_list(judge):
    assert judge("permutation", ["bark", "bell"], '<answer>["bark", "bell"]</answer>').score == 1.0
    assert judge("permutation", "B, A", "<answer>b > a</answer>").score == 1.0
    assert judge("permutation", [], "<answer>1</answer>").status == "bad_gold"


STRICT = "<think>x</think><answer>1</answer>"


@pytest.mark.parametrize(
    ("text", "params", "score"),
    [
        (STRICT, {}, 1.0),
        ("<think>\n\n</think><answer>3</answer>", {}, 1.0),
        ("<think>a\nb</think>\n <answer>1</answer>\n", {}, 1.0),
        ("I think <answer>1</answer>", {}, 0.0),
        ("<think><think>x</think><answer>1</answer>", {}, 0.0),
        ("<think><think>x</think><answer>1</answer>", {"once": False}, 1.0),
        ("<think>x</think> so <answer>1</answer>", {}, 0.0),
        (STRICT + " done", {}, 0.0),
        ("<think>x<answer>1</answer></think>", {}, 0.0),
        ("<think></think><answer>1</answer>", {"empty": False}, 0.0),
        (STRICT, {"empty": False}, 1.0),
        (STRICT, {"between": "nothing"}, 1.0),
        ("<think>x</think>\n<answer>1</answer>", {"between": "nothing"}, 0.0),
        ("<think>\nx\n</think>\n<answer>\n1\n</answer>", {"credit": "quarters_newline"}, 1.0),
        (STRICT, {"credit": "quarters_newline"}, 0.0),
        (
            "<think>\nx\n</think>\n<answer>\n1\n</answer>\n</answer>",
            {"credit": "quarters_newline"},
            0.75,
        ),
        (STRICT, {"credit": "quarters"}, 1.0),
        ("<think>x</think>1</answer>", {"credit": "quarters"}, 0.75),
        ("<think>", {"once": False}, 0.0),
        ("<think></think><answer></answer>", {"once": False}, 1.0),
    ],
)
def test_think_answer_gives_all_or_nothing_or_quarters(judge, text, params, score):
    assert judge("think_answer", "1", text, **params).score == score
