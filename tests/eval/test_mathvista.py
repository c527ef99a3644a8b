"""MathVista's scorer, against vectors that were made by running the authors' own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmrl.evals.benchmark import Response, find_benchmark
from mmrl.evals.questions import read_questions
from mmrl.evals.scoring import judge, split_line

FIXTURES = Path(__file__).parent / "fixtures"
VECTORS = [
    json.loads(line) for line in (FIXTURES / "mathvista_vectors.jsonl").read_text().splitlines()
]
BENCHMARK = find_benchmark("mathvista")
ANGLES = ["135°", "140°", "145°", "150°"]


def _item(kind="integer", answer="14", choices=None, **fields):
    question_type = "multi_choice" if choices else "free_form"
    return BENCHMARK.item(
        {
            "pid": "1",
            "question_type": question_type,
            "answer_type": "text" if choices else kind,
            "answer": answer,
            "choices": choices,
            "precision": None,
            **fields,
        }
    )


def _score(item, text=None, mode="strict", **response):
    return judge(BENCHMARK, item, Response(text=text or "", **response), mode)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['extraction']}={v['answer']}")
def test_an_extraction_scores_as_the_authors_score_it(vector):
    score = _score(BENCHMARK.item(vector), extraction=vector["extraction"], mode="official")
    assert score.normalised == vector["official"]["normalized"]
    assert score.correct is vector["official"]["correct"]
    assert score.value == float(vector["official"]["correct"])


@pytest.mark.parametrize(
    ("text", "extracted"),
    [
        ("", None),
        ("145°", "145°"),
        ('Thinking ... The answer is "145°". I am sure.', "145°"),
        ("<think>B?</think><answer>C</answer>", "C"),
        (r"so \boxed{C}", "C"),
        ("I believe the answer is (C).", "C"),
    ],
)
def test_without_an_extraction_the_quick_rules_come_before_ours(text, extracted):
    score = _score(_item(choices=ANGLES, answer="145°"), text, mode="official")
    assert score.answer == extracted
    assert score.correct is (extracted is not None)


@pytest.mark.parametrize(
    ("text", "kind", "extracted"),
    [(" 14 ", "integer", "14"), ("1_4", "integer", "14"), ("14.0", "float", "14.0")],
)
def test_a_response_that_python_reads_as_a_number_is_the_extraction(text, kind, extracted):
    score = _score(_item(kind, extracted, precision=1.0), text, mode="official")
    assert (score.answer, score.how, score.correct) == (extracted, "whole", True)


def test_officially_the_option_nearest_to_nothing_counts_and_is_called_a_fallback():
    item = _item(choices=["3/11", "8/11", "6/11", "3/5"], answer="3/5")
    score = _score(item, "I cannot say.", mode="official")
    assert (score.correct, score.how, score.status) == (True, "fallback", "no_answer")
    assert _score(item, "I cannot say.").status == "no_answer"


@pytest.mark.parametrize(
    "text", ["b", "B.", "(b)", "The answer is B.", "140", "<answer>140°</answer>"]
)
def test_strict_reads_what_the_response_means(text):
    score = _score(_item(choices=ANGLES, answer="140°"), text)
    assert (score.correct, score.normalised, score.status) == (True, "140°", "ok")


def test_strict_gives_nothing_for_two_options_or_none():
    item = _item(choices=ANGLES, answer="140°")
    assert _score(item, "(A) or (B)").status == "ambiguous"
    assert _score(item, "It is 92.5 degrees.").status == "no_answer"
    assert _score(item, "").status == "no_answer"


def test_options_with_the_same_text_are_the_same_answer():
    item = _item(choices=["6cm", "4cm", "4cm", "5cm"], answer="4cm")
    assert _score(item, "C").correct
    assert _score(item, "B").correct
    assert not _score(item, "A").correct


def test_small_letters_as_options_are_read_by_their_place():
    item = _item(choices=["a", "b", "c", "d", "e"], answer="c")
    assert _score(item, "c").correct
    assert not _score(item, "b").correct


@pytest.mark.parametrize(
    ("kind", "answer", "text", "right"),
    [
        ("integer", "1000", "1,000", True),
        ("integer", "14", "$14", True),
        ("integer", "50", "50%", True),
        ("integer", "14", "14 years", True),
        ("integer", "14", "14.0", True),
        ("integer", "14", "14.9", False),
        ("integer", "14", "The answer is 14 years, for 3 people.", True),
        ("integer", "5", "The answer is 2 + 3 = 5.", True),
        ("integer", "-3", "It is \u22123", True),
        ("float", "0.0", "-0.01", True),
        ("float", "0.33", "1/3", True),
        ("float", "1.2", r"\boxed{1.23}", True),
        ("float", "1.2", "1.3", False),
        ("list", "[2014, 2016]", "[2014,2016]", True),
        ("list", "[2014, 2016]", "2016, 2014", False),
        ("list", "[1.2, 1.30]", "so it is [1.20, 1.3]", True),
    ],
)
def test_strict_compares_values_not_spellings(kind, answer, text, right):
    places = float(len(answer.partition(".")[2]) or 1)
    assert _score(_item(kind, answer, precision=places), text).correct is right


def test_a_precision_is_a_float_on_the_hub_and_an_integer_in_the_repository():
    for precision in (1, 1.0):
        item = _item("float", "1.2", precision=precision)
        assert _score(item, "1.23", mode="official").correct


@pytest.mark.parametrize(
    "text", ["<think>C", "<think>so C</think>", "<think>a</think> The answer is C"]
)
def test_a_response_that_was_cut_is_truncated_not_an_answer(text):
    score = _score(_item(choices=ANGLES, answer="145°"), text, stop="length")
    assert (score.correct, score.status) == (False, "truncated")


def test_a_tag_that_was_closed_before_the_cut_is_an_answer():
    item = _item(choices=ANGLES, answer="145°")
    assert _score(item, "<think>x</think><answer>C</answer> and", stop="length").correct


def test_the_fixture_is_read_as_the_repository_writes_it():
    folder = FIXTURES / "mathvista"
    questions = list(read_questions(BENCHMARK, str(folder), BENCHMARK.split()))
    assert [question.item.id for question in questions] == [str(n) for n in range(1, 11)]
    first, third = questions[0], questions[2]
    assert third.item.groups["skills"] == ("geometry reasoning", "algebraic reasoning")
    assert third.item.groups["language"] == "chinese"
    assert first.row.media[0].source == folder / "images" / "1.jpg"
    assert first.row.prompt[0]["content"][1]["text"] == first.item.fields["query"]


def test_a_parquet_of_the_hub_gives_its_pictures_as_bytes(tmp_path):
    import pyarrow
    from pyarrow import parquet

    records = json.loads((FIXTURES / "mathvista" / "testmini.json").read_text())
    rows = [
        {**record, "decoded_image": {"bytes": b"\x89PNG...", "path": None}}
        for record in records.values()
    ]
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "testmini-00000-of-00001.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    questions = list(read_questions(BENCHMARK, str(tmp_path), BENCHMARK.split(), limit=3))
    assert questions[0].row.media[0].source == b"\x89PNG..."
    assert questions[0].item.fields["precision"] == 1.0
    assert questions[2].item.choices == tuple(ANGLES)


def test_every_gold_answer_of_the_fixture_is_right_by_both_rules():
    for question in read_questions(BENCHMARK, str(FIXTURES / "mathvista"), BENCHMARK.split()):
        for mode in BENCHMARK.modes:
            assert _score(question.item, extraction=question.item.answer, mode=mode).correct


@pytest.mark.parametrize("precision", ["1.0", "1", 1, 1.0])
def test_a_precision_counts_however_it_is_written(precision):
    assert _score(_item("float", "1.2", precision=precision), "1.23").correct is True


@pytest.mark.parametrize("precision", [None, float("nan")])
def test_without_a_precision_the_answers_own_decimals_count(precision):
    assert _score(_item("float", "1.25", precision=precision), "1.251").correct is True


def test_choices_may_be_the_text_of_a_list():
    item = _item(answer="No", choices="['Yes', 'No']")
    assert _score(item, "B").correct is True


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"answer": None}, "the record has no answer"),
        ({"answer": ""}, "the record has no answer"),
        ({"kind": "weird"}, "answer_type 'weird' is none of integer, float, list, text"),
        ({"question_type": "multi_choice"}, "a multiple-choice record without choices"),
    ],
)
@pytest.mark.parametrize("mode", ["official", "strict"])
def test_a_record_that_cannot_be_scored_is_an_error_in_every_mode(fields, reason, mode):
    score = _score(_item(**fields), "14", mode)
    assert (score.status, score.correct) == ("error", False)
    assert reason in score.detail


def test_an_extraction_that_is_null_is_a_text_to_the_authors_and_no_answer_to_us():
    line = {
        "pid": "1",
        "question_type": "multi_choice",
        "choices": ["3", "None of them"],
        "answer": "None of them",
        "extraction": None,
    }
    fields, response = split_line(line)
    item = BENCHMARK.item(fields)
    # "None" is nearer to "3" by length, by the authors' distance
    assert judge(BENCHMARK, item, response, "official").normalised == "3"
    assert judge(BENCHMARK, item, response, "strict").status == "no_answer"
    yes_no = BENCHMARK.item({**fields, "choices": ["7", "Nine"], "answer": "Nine"})
    assert judge(BENCHMARK, yes_no, response, "official").correct is True
