from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ValidationError

from mmrl.schedule import Schedule

V_TRIUNE = {0.0: 0.85, 0.10: 0.95, 0.25: 0.99}


class Term(BaseModel):
    weight: float | Schedule = 1.0
    threshold: Schedule = Schedule.of(0.5)


@pytest.mark.parametrize(
    ("step", "value"), [(0, 0.85), (10, 0.85), (11, 0.95), (25, 0.95), (26, 0.99), (100, 0.99)]
)
def test_a_value_holds_up_to_and_including_the_next_start(step, value):
    assert Schedule.of(V_TRIUNE).at(step / 100) == value


def test_a_plain_number_is_a_schedule_that_never_changes():
    assert [Schedule.of(3).at(progress) for progress in (0.0, 0.4, 1.0)] == [3.0, 3.0, 3.0]


def test_keys_may_be_strings_as_json_has_them_and_stand_in_any_order():
    assert Schedule.of({"0.25": 1, "0": 2}) == Schedule.of({0.0: 2.0, 0.25: 1.0})


def test_a_schedule_is_written_back_as_it_was_given():
    for given in (0.7, V_TRIUNE, {0.0: 0.7}):
        term = Term.model_validate({"weight": given, "threshold": given})
        assert term.model_dump() == {"weight": given, "threshold": given}
        assert Term.model_validate_json(term.model_dump_json()) == term
    assert json.loads(Term(weight=Schedule.of({0.0: 1})).model_dump_json())["weight"] == {
        "0.0": 1.0
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {0.1: 1},
        {0.0: 1, 1.0: 2},
        {0.0: 1, -0.5: 2},
        {0.0: "x"},
        {0.0: True},
        {"a": 1},
        {0.0: float("nan")},
        {0.0: 1, "0": 2},
        10**400,
        "0.5",
        None,
        [1],
        float("inf"),
    ],
)
def test_what_is_not_a_schedule_is_refused(wrong):
    with pytest.raises(ValidationError):
        Term.model_validate({"threshold": wrong})
