"""Scorers of formulas and of MEGA-Bench's rules, against worked vectors."""

from __future__ import annotations

import pytest

from eval._math_vision_rules import extract, is_equal
from eval._mega_rules import METRICS, parse_json, parse_text
from mmrl.evals.benchmark import Response, Scored, find_benchmark
from mmrl.evals.scorers.maths import score_math
from mmrl.evals.scoring import judge


def _judge(name, record, text, mode="strict", **response):
    benchmark = find_benchmark(name)
    return judge(benchmark, benchmark.item(record), Response(text=text, **response), mode)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So it must be (C).", "c"),
        ("C\nbecause", "c"),
        ("(C) C\nbecause", "c"),
        ("The area is 12.", "12"),
        ("I count them. The answer is 7. Then I stop.", "7"),
        ("thus $\\boxed{12}$ or \\boxed{\\frac{3}{4}}", "\\frac{3}{4}"),
        ("\\boxed{x = 3^\\circ}", "3"),
        ("\\boxed{1/2}", "\\frac{1}{2}"),
        ("\\boxed{0.5}", "\\frac{1}{2}"),
        ("\\boxed{(B)}", "b"),
        ("\\boxed{\\text{B}}", "b"),
        ("\\boxed{5\\text{ km}}", "5"),
    ],
)
def test_math_visions_scorer_reads_an_answer(text, answer):
    assert extract(text) == answer


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("B", "b", True),
        ("0.5", "\\frac{1}{2}", True),
        ("3", "3.004", True),
        ("3", "3.01", False),
        ("\\frac{1}{3}", "0.33", True),
        ("(2,3)", "(2,3)", True),
        ("(2,3)", "(2.001,3)", False),
        ("(2.5,3)", "(2.501,3)", True),
        ("2\\sqrt{3}", "\\sqrt{12}", True),
        ("2\\sqrt{3}", "3", False),
        ("", "", False),
        ("x", "", False),
    ],
)
def test_math_visions_scorer_compares_to_two_decimals(gold, answer, right):
    assert is_equal(gold, answer) is right


def test_math_vision_counts_the_letter_and_the_options_value():
    record = {"id": "6", "options": ["2", "\\frac{5}{2}", "3", "4", "6"], "answer": "B"}
    for text in ("\\boxed{B}", "\\boxed{2.5}", "\\boxed{5/2}", "The answer is 2.5"):
        assert _judge("mathvision", record, text, "official").correct, text
    assert not _judge("mathvision", record, "\\boxed{2}", "official").correct


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("The area is\n\\boxed{\\sqrt{12}}", "2\\sqrt{3}", True),
        ("<answer>0.5</answer>", "\\frac{1}{2}", True),
        ("so the answer is 12.", "12", True),
        ("I count 3 and 4, which makes 7 in the end of it all", "7", True),
        ("\\boxed{x}", "12", False),
    ],
)
def test_free_answers_are_compared_as_mathematics(text, gold, right):
    assert score_math(Response(text=text), gold).correct is right


def test_mathverses_quick_match_is_equality_of_texts():
    record = {"sample_index": "4", "question_type": "free-form", "answer": "2\\sqrt{3}"}
    for extraction, right in (("2\\sqrt{3}", True), ("2\\sqrt3", False), ("\\sqrt{12}", False)):
        found = _judge("mathverse", record, "", "official", extraction=extraction)
        assert found.correct is right
    assert _judge("mathverse", record, "\\boxed{\\sqrt{12}}").correct


def test_mathverses_headline_is_the_mean_over_the_versions():
    benchmark = find_benchmark("mathverse")
    scored = []
    for version, right in (
        ("Text Lite", 1),
        ("Text Lite", 1),
        ("Text Lite", 0),
        ("Vision Only", 0),
    ):
        record = {"sample_index": len(scored), "problem_version": version, "answer": "12"}
        item = benchmark.item(record)
        text = "\\boxed{12}" if right else "\\boxed{3}"
        scored.append(
            Scored(item=item, score=judge(benchmark, item, Response(text=text), "strict"))
        )
    assert benchmark.aggregate is not None
    assert benchmark.aggregate(scored) == {
        "mean_over_version": pytest.approx(1 / 3),
        "accuracy": pytest.approx(1 / 2),
    }


@pytest.mark.parametrize(
    ("metric", "answer", "gold", "credit"),
    [
        ("exact_str_match", "B", "B", 1),
        ("exact_str_match", "(B) dog", "B", 1),
        ("exact_str_match", "b", "B", 0),
        ("exact_str_match_case_insensitive", "DOG", "dog", 1),
        ("simple_str_match", "New-York.", "new york", 1),
        ("normalized_similarity_damerau_levenshtein", "abdc", "abcd", 0.75),
        ("near_str_match", "The Caf\u00e9", "cafe", 1),
        ("near_str_match", "coffee", "cafe", 0),
        ("number_rel_diff_ratio", "5", "4.0", 0.75),
        ("number_rel_diff_ratio", "9", "4.0", 0),
        ("number_rel_diff_ratio", "four", "4.0", 0),
        ("number_rel_diff_ratio", "1" + "0" * 400, "4.0", 0),
        ("positive_int_match", "3", "3", 1),
        ("positive_int_match", "0", "0", -1),
        ("set_equality", "['b', 'a']", "['a', 'b']", 1),
        ("set_equality", "a, b", "['a', 'b']", 1),
        ("set_equality", "['a']", "['a', 'b']", 0),
        ("set_equality_case_insensitive", "A, B", "['a', 'b']", 1),
        ("jaccard_index", "[1, 2, 3]", "[2, 3, 4]", 0.5),
        ("jaccard_index_case_insensitive", "['A', 'c']", "['a', 'b']", 1 / 3),
        ("sequence_equality", "[1, 2]", "[1, 2]", 1),
        ("sequence_equality", "[2, 1]", "[1, 2]", 0),
        ("sequence_equality_case_insensitive", "A, B", "['a', 'b']", 1),
        ("longest_common_list_prefix_ratio", "[1, 2, 9]", "[1, 2, 3, 4]", 0.5),
        ("dict_equality", "{'a': 1}", '{"a": 1}', 1),
    ],
)
def test_the_rules_of_mega_bench(metric, answer, gold, credit):
    assert METRICS[metric](answer, gold) == pytest.approx(credit)


def test_mega_bench_reads_what_follows_the_last_answer_mark():
    assert parse_text("Answer: A\nOr: Answer: B", one_line=True) == "B"
    assert parse_text("**Answer: B** since", one_line=True) == "B"
    assert parse_text("Answer:\n```json\n[1, 2]\n```", one_line=True) == "[1, 2]"
    assert parse_text("Answer: B\n\nI am sure.", one_line=True) == "B"
    assert parse_json('Sure. {"a": 1, "b": [2]} done') == {"a": 1, "b": [2]}
    assert parse_json("{'a': 1}") == {"a": 1}
    assert parse_json("none") is None


def test_mega_bench_weighs_fields_and_means_over_tasks():
    benchmark = find_benchmark("mega_bench_rules")
    info = {
        "field_score_function": {"c": "exact_str_match", "v": "number_rel_diff_ratio"},
        "aggregation": {"function": "mean", "field_weights": {"c": 1, "v": 3}},
        "response_parse_function": "json",
    }
    record = {"id": 1, "task_name": "t", "metric_info": str(info), "answer": "{'c': 'x', 'v': '4'}"}
    item = benchmark.item(record)
    found = judge(benchmark, item, Response(text='{"c": "x", "v": 5}'), "strict")
    assert found.value == pytest.approx((1 + 3 * 0.75) / 4)
    assert judge(benchmark, item, Response(text="x"), "strict").status == "no_answer"
    # the authors take the whole text for each field where no JSON can be read
    assert judge(benchmark, item, Response(text="x"), "official").value == pytest.approx(0.25)


def test_mega_bench_leaves_out_tasks_that_other_metrics_score():
    benchmark = find_benchmark("mega_bench_rules")
    info = {
        "field_score_function": {"a": "gpt_4o_as_judge"},
        "aggregation": {"function": "mean", "field_weights": {}},
        "response_parse_function": "json",
    }
    item = benchmark.item({"id": 1, "metric_info": str(info), "answer": "{'a': 'x'}"})
    assert judge(benchmark, item, Response(text="x"), "strict").status == "error"
