from __future__ import annotations

import pytest

from mmrl.config.sampling import SelectConfig
from mmrl.curriculum.selection import (
    Scored,
    choose,
    hand_on,
    read_selection,
    score_group,
    write_selection,
)
from mmrl.errors import DataError, RunError

RATES = {"a": 1.0, "b": 0.25, "c": None, "d": 0.5, "e": 0.0}
POOL = [
    Scored(
        id=key,
        pass_rate=rate,
        mean_length=10.0,
        first=f"{key}, first" if rate else None,
        shortest=f"{key}!" if rate else None,
    )
    for key, rate in RATES.items()
]


def kept(**changes) -> str:
    return "".join(row.id for row in choose(POOL, SelectConfig(**changes)))


def test_rows_are_kept_by_their_pass_rates_in_the_order_that_is_asked_for():
    assert kept() == "abde"
    assert kept(low=0.2, high=0.8) == "bd"
    assert kept(order="easy") == "adbe"
    assert kept(order="hard") == "ebda"
    assert kept(order="uncertain", limit=2) == "db"
    assert kept(response="shortest") == "abd"


def test_an_empty_selection_is_one_line_that_says_what_there_was():
    with pytest.raises(DataError, match=r"none of 5 rows is kept \(pass rates are 0 to 1; wanted"):
        choose(POOL, SelectConfig(low=0.6, high=0.9))
    with pytest.raises(DataError, match="with a right completion"):
        choose(POOL, SelectConfig(high=0.0, response="first"))


def test_a_group_is_scored_by_its_accuracy_and_its_right_completions(group):
    rollouts_G = group(3, of=4)
    scored = score_group(rollouts_G)
    assert (scored.id, scored.pass_rate, scored.mean_length) == ("r0", 0.75, 2.5)
    assert scored.first == scored.shortest == ""
    assert score_group(group(0, of=4)).first is None


def test_rows_are_handed_on_with_what_is_known_of_them(rows, tmp_path):
    pool = rows([0.9, 0.9, 0.9])
    scored = [
        Scored(id="r2", pass_rate=0.75, mean_length=4.0, first="long", shortest="short"),
        Scored(id="r0", pass_rate=0.25, mean_length=6.0, first="x", shortest="y"),
    ]
    assert read_selection(tmp_path, "pick") is None
    write_selection(tmp_path, "pick", scored, SelectConfig(response="shortest"))
    first, second = hand_on(pool, read_selection(tmp_path, "pick"))
    assert (first.id, first.difficulty, first.response) == ("r2", 0.25, "short")
    assert first.extra == {"pass_rate": 0.75, "mean_length": 4.0}
    assert (second.id, second.response) == ("r0", "y")
    assert pool[2].difficulty == 0.9
    write_selection(tmp_path, "pick", scored, SelectConfig())
    assert hand_on(pool, read_selection(tmp_path, "pick"))[0].response is None


def test_a_row_that_is_gone_is_said(rows, tmp_path):
    scored = [Scored(id="r7", pass_rate=0.5, mean_length=1.0, first=None, shortest=None)]
    write_selection(tmp_path, "pick", scored, SelectConfig())
    with pytest.raises(RunError, match="row r7 was selected and is not in the pool any more"):
        hand_on(rows([0.5]), read_selection(tmp_path, "pick"))
