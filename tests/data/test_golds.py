from __future__ import annotations

import pytest

from mmrl.data.golds import check_golds
from mmrl.data.rows import load_rows
from mmrl.judging.panel import Panel


@pytest.fixture
def report_on(write_jsonl):
    def run(*raws):
        panel = Panel()
        try:
            return check_golds(load_rows(write_jsonl(*raws)), panel)
        finally:
            panel.close()

    return run


def test_rows_that_judge_their_answers_right_are_good(raw, report_on):
    rows = [raw(f"r{i}", answer=str(i % 3), verifier={"name": "number"}) for i in range(9)]
    report = report_on(*rows)
    assert (report.errors, report.judged, report.unopposed) == ((), 9, 0)


def test_an_answer_that_its_verifier_cannot_read_is_named(raw, report_on):
    report = report_on(
        raw("a", answer="3", verifier={"name": "number"}),
        raw("b", answer="many", verifier={"name": "number"}),
    )
    (error,) = report.errors
    assert "rows.jsonl:2: row b: number gives its own answer no score (bad_gold" in str(error)


def test_a_verifier_that_accepts_anything_is_named(raw, report_on):
    lax = {"name": "number", "params": {"abs_tol": 1000}}
    report = report_on(*(raw(f"r{i}", answer=str(i), verifier=lax) for i in range(5)))
    assert len(report.errors) == 5
    assert "row r0: number gives" in str(report.errors[0])


def test_answers_that_mean_the_same_prove_nothing(raw, report_on):
    answers = ["0.5", "0.50", "1", "2"]
    rows = (raw(f"r{a}", answer=a, verifier={"name": "number"}) for a in answers)
    assert report_on(*rows).errors == ()


def test_an_unknown_verifier_is_named_for_every_row(raw, report_on):
    report = report_on(raw("a", verifier={"name": "exakt"}), raw("b", verifier={"name": "exact"}))
    (error,) = report.errors
    assert "row a: there is no verifier 'exakt', did you mean 'exact'?" in str(error)
    assert report.unopposed == 1


def test_every_term_of_a_row_is_tried(raw, report_on):
    terms = [{"name": "exact"}, {"name": "number"}]
    report = report_on(
        raw("a", answer="three", verifier=terms), raw("b", answer="4", verifier=terms)
    )
    (error,) = report.errors
    assert "row a: number gives its own answer no score" in str(error)
