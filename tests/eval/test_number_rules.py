"""Numbers and formulas as answers, by each benchmark's own rules and by strict ones."""

from __future__ import annotations

import random
from decimal import Decimal

import numpy as np
import pytest

from eval.dynamath import official_short_answer
from eval.mmmu import official_answers
from mmrl.evals.benchmark import Response, Scored, find_benchmark
from mmrl.evals.reading import Found
from mmrl.evals.scorers.mra import exact_mra, float_mra
from mmrl.evals.scorers.numbers import find_number, plain, score_number
from mmrl.evals.scoring import judge


def _judge(name, record, text, mode="strict", **response):
    benchmark = find_benchmark(name)
    return judge(benchmark, benchmark.item(record), Response(text=text, **response), mode)


@pytest.mark.parametrize(
    ("value", "gold", "credit", "exact"),
    [
        (10, 10, 1.0, 1.0),
        (10.5, 10, 1.0, 1.0),
        (11, 10, 0.9, 0.9),
        (12, 10, 0.6, 0.7),
        (15, 10, 0.1, 0.1),
        (16, 10, 0.0, 0.0),
        (3, 4, 0.6, 0.6),
        (0, 4, 0.0, 0.0),
        (0, 0, 1.0, 1.0),
        (1, 0, 0.0, 0.0),
    ],
)
def test_mean_relative_accuracy_in_binary_and_in_exact_arithmetic(value, gold, credit, exact):
    assert float_mra(value, gold) == pytest.approx(credit)
    assert exact_mra(Decimal(str(value)), Decimal(str(gold))) == pytest.approx(exact)


def test_mean_relative_accuracy_is_that_of_the_authors_arrays():
    rng = random.Random(1)
    for _ in range(500):
        gold, value = rng.choice([1, 2, 4, 10, 3.5, 7.1]), rng.randint(0, 40) / 4
        kept = abs(value - gold) / gold <= 1 - np.linspace(0.5, 0.95, 10)
        assert float_mra(value, gold) == pytest.approx(kept.mean())


@pytest.mark.parametrize(
    ("text", "official", "strict"),
    [
        ("12", 0.6, 0.7),
        ("12.", 0.6, 0.7),
        ("12 meters", 0.6, 0.7),
        ("about 12", None, 0.7),
        ("The answer is 10.", None, 1.0),
        ("nan", 0.0, None),
        ("", None, None),
    ],
)
def test_vsi_bench_gives_credit_by_distance(text, official, strict):
    record = {"id": 1, "question_type": "object_abs_distance", "ground_truth": "10.0"}
    for mode, value in (("official", official), ("strict", strict)):
        found = _judge("vsi_bench", record, text, mode)
        assert found.value == pytest.approx(value or 0.0)
        assert found.status == ("no_answer" if value is None else "ok")


def test_vsi_benchs_direction_levels_count_as_one_task():
    benchmark = find_benchmark("vsi_bench")
    scored = []
    for kind, value in (
        ("object_rel_direction_easy", "A"),
        ("object_rel_direction_medium", "B"),
        ("object_rel_direction_hard", "B"),
        ("object_counting", "4"),
        ("object_counting", "9"),
    ):
        gold = "4" if kind == "object_counting" else "A"
        item = benchmark.item(
            {
                "id": len(scored),
                "question_type": kind,
                "ground_truth": gold,
                "options": None if gold == "4" else ["A. left", "B. right"],
            }
        )
        scored.append(
            Scored(item=item, score=judge(benchmark, item, Response(text=value), "strict"))
        )
    assert benchmark.aggregate is not None
    found = benchmark.aggregate(scored)
    assert next(iter(found)) == "overall"
    assert found["object_rel_direction"] == pytest.approx(1 / 3)
    assert found["overall"] == pytest.approx((1 / 3 + 1 / 2) / 2)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5", "5"),
        ("$1,250.50.", "1250.5"),
        ("The answer is 14 years, for 3 people.", "14"),
        ("So the answer: x = 2 + 3 = 5. I used 7 steps", "5"),
        ("First 3, then 4", "4"),
        ("50%", "50"),
        ("\u22123.0", "-3"),
        ("none", None),
    ],
)
def test_the_number_that_a_text_gives(text, number):
    found = find_number(Found(text=text, how="whole"))
    assert (None if found is None else plain(found[0])) == number


def test_a_number_may_be_off_by_the_tolerance_and_no_more():
    for text, right in (("2.501", True), ("2.5011", False), ("<answer>2.4990</answer>", True)):
        found = score_number(Response(text=text), Decimal("2.5"), tolerance=Decimal("0.001"))
        assert found.correct is right


@pytest.mark.parametrize(
    ("text", "official", "strict"),
    [
        ("5", 1.0, 1.0),
        (" 5\n", 1.0, 1.0),
        ("There are 5", 0.0, 1.0),
        ("There are five dogs.", 0.0, 1.0),
        ("5.5", 0.0, None),
        ("four", 0.0, 0.0),
        ("many", 0.0, None),
    ],
)
def test_countbench(text, official, strict):
    record = {"_key": "0", "number": 5.0, "question": "How many?"}
    assert _judge("countbench", record, text, "official").value == official
    found = _judge("countbench", record, text)
    assert (found.value, found.status == "ok") == (strict or 0.0, strict is not None)


@pytest.mark.parametrize(
    ("text", "official", "strict"),
    [
        ("<think>3</think><answer> 4 </answer>", 1.0, 1.0),
        ("<answer>4 things</answer>", 0.0, 1.0),
        ("<answer>04</answer>", 1.0, 1.0),
        ("<answer>3</answer><answer>4</answer>", 0.0, 1.0),
        ("4", 0.0, 1.0),
    ],
)
def test_superclevr(text, official, strict):
    record = {"_key": "0", "ground_truth": 4, "image_path": "images/0.png", "question": "?"}
    assert _judge("superclevr", record, text, "official").value == official
    assert _judge("superclevr", record, text).value == strict


@pytest.mark.parametrize(
    ("kind", "gold", "text", "official", "strict"),
    [
        ("float", "2.5", '{"solution": "x", "short answer": "2.5004"}', 1, 1),
        ("float", "2.5", '{"solution": "x", "short answer": "2.502"}', 0, 0),
        ("float", "3.14159", '{"short answer": "1.0\u03c0"}', 1, 0),
        ("float", "2.5", 'So:\n{"short answer": 2.5}', 1, 1),
        ("float", "2.5", "It is\n2.5.", 1, 1),
        # the last character of the last line is cut off, and JSON that is no object fails
        ("float", "2.5", "2.5!", 1, 1),
        ("float", "2.5", "2.5", 0, 1),
        ("float", "2.5", '{"answer": 2.5}', 0, 1),
        ("multiple choice", "B", '{"short answer": "B"}', 1, 1),
        ("multiple choice", "B", '{"short answer": "(B) 3"}', 1, 1),
        ("multiple choice", "B", '{"short answer": "A or B"}', 0, 0),
        ("multiple choice", "A", '{"short answer": "A, B"}', 1, 0),
        ("text", "even", '{"short answer": "uneven"}', 1, 0),
        ("text", "even", '{"short answer": "Even"}', 0, 1),
    ],
)
def test_dynamath(kind, gold, text, official, strict):
    record = {"id": "1", "answer_type": kind, "ground_truth": gold}
    assert _judge("dynamath", record, text, "official").value == official
    assert _judge("dynamath", record, text).value == strict


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("", ""),
        ("{", ""),
        ("}{", "}"),
        ("7", ""),
        ('{"short answer": 7}', "7"),
        ('{"a": "\\frac{1}{2}", "short answer": "B"} ok', "B"),
        ('{"solution": 1}', "None"),
        ("first\nlast!", "last"),
    ],
)
def test_dynamaths_script_finds_a_short_answer(text, short):
    assert official_short_answer(text) == short


def test_dynamaths_worst_case_wants_every_variant_right():
    benchmark = find_benchmark("dynamath")
    rng = random.Random(3)
    table = {seed: [rng.random() < 0.7 for _ in range(10)] for seed in range(20)}
    table[99] = [True] * 10
    scored = []
    for seed, rights in table.items():
        for variant, right in enumerate(rights, start=1):
            record = {"id": seed, "variant": variant, "answer_type": "text", "ground_truth": "x"}
            item = benchmark.item(record)
            text = '{"short answer": "x"}' if right else "nothing"
            scored.append(
                Scored(item=item, score=judge(benchmark, item, Response(text=text), "strict"))
            )
    assert benchmark.aggregate is not None
    found = benchmark.aggregate(scored)
    assert found["average"] == pytest.approx(np.mean(list(table.values())))
    assert found["worst_case"] == pytest.approx(np.mean([all(row) for row in table.values()]))


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("The current is 5 A.", ["5 a", 5.0]),
        ("x = 3\nso the answer is 1,250.5", [1250.5]),
        ("dog", ["dog"]),
        ("b", [" b", "b "]),
        ("It is 2.\nThen y = 4", [2.0, 4.0]),
    ],
)
def test_mmmus_open_parser_takes_the_shortest_piece_of_every_line(text, answers):
    found = official_answers(text)
    assert [one for one in answers if one not in found] == []


@pytest.mark.parametrize(
    ("gold", "text", "official", "strict"),
    [
        ("1,250.5", "The current is 1250.504 A", True, False),
        ("1,250.5", "1250.5", True, True),
        ("transformation", "It is bacterial transformation.", True, False),
        ("transformation", "Transformation.", True, True),
        ("['cell', 'the cell']", "<answer>The cell</answer>", True, True),
        ("5", "15 apples and 5 pears", True, True),
        ("5", "15", False, False),
        ("B", "A or B ", True, False),
    ],
)
def test_mmmus_open_questions(gold, text, official, strict):
    record = {"id": "validation_Math_1", "options": "[]", "question_type": "open", "answer": gold}
    assert _judge("mmmu", record, text, "official").correct is official
    assert _judge("mmmu", record, text).correct is strict
