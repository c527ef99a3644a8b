"""Samplers choose by their rule, and by their state alone."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter

import pytest

from mmrl.config.sampling import (
    BanditMixture,
    EasyToHardSampling,
    FixedMixture,
    LimSampling,
    PooledMixture,
    SelfPacedSampling,
    UniformSampling,
    WindowSampling,
)
from mmrl.curriculum.angle import AngleSampler, log_weight, movement
from mmrl.curriculum.build import build_sampler
from mmrl.curriculum.lim import LimSampler
from mmrl.curriculum.ordered import SelfPacedSampler, easy_to_hard
from mmrl.curriculum.value import ValueSampler, nearest, value_loss
from mmrl.curriculum.window import WindowSampler
from mmrl.data.sampler import RowSampler
from mmrl.errors import DataError, RunError
from mmrl.schedule import Schedule

DIFFICULTIES = [0.5, 0.1, 0.9, 0.3, 0.7, 0.1]


def window(count: int, **changes) -> WindowSampler:
    bounds = {"low": 0.2, "high": 0.8} | changes
    bounds |= {key: Schedule.of(bounds[key]) for key in ("low", "high")}
    return WindowSampler(count, 3, **bounds)


class Hidden:
    """Hidden states of rows: the first coordinate tells how hard a row is."""

    def __init__(self, rates: list[float]) -> None:
        self.rates = rates
        self.asked: list[list[int]] = []

    def features(self, places) -> list[list[float]]:
        self.asked.append([*places])
        return [[2 * self.rates[place] - 1, 0.3] for place in places]

    def angles(self, places) -> list[float]:
        self.asked.append([*places])
        return [self.rates[place] for place in places]


# easy to hard


def test_easy_rows_come_first_and_every_row_once(rows):
    sampler = easy_to_hard(rows(DIFFICULTIES), seed=0)
    for _ in range(3):
        taken = [DIFFICULTIES[place] for place in sampler.take(6)]
        assert taken == sorted(DIFFICULTIES)


def test_equal_rows_are_in_an_order_of_the_epoch(rows):
    sampler = easy_to_hard(rows([0.5] * 30), seed=0)
    assert sampler.take(30) != sampler.take(30)


def test_neura_ladder_orders_by_difficulty_and_then_by_complexity(rows):
    ladder = rows([0.5, 0.1, 0.5, 0.1])
    for row, length in zip(ladder, (30, 20, 10, 40), strict=True):
        row.extra["complexity"] = length
    assert easy_to_hard(ladder, seed=0, then_by="complexity").take(4) == [1, 3, 2, 0]


def test_levels_are_shuffled_within_themselves(rows):
    difficulties = [place / 40 for place in range(40)]
    sampler = easy_to_hard(rows(difficulties), seed=0, levels=4)
    first, second = sampler.take(40), sampler.take(40)
    assert first != second
    assert first != sorted(first)
    for epoch in (first, second):
        assert [place // 10 for place in epoch] == [level for level in range(4) for _ in range(10)]


def test_rows_without_a_difficulty_are_named(rows):
    with pytest.raises(DataError, match=r"2 of 3 rows have no 'difficulty'.* row r1 \(rows"):
        easy_to_hard(rows([0.1, None, None]), seed=0)
    with pytest.raises(DataError, match=r"row r0 .* has no number 'complexity' in 'extra'"):
        easy_to_hard(rows([0.1]), seed=0, then_by="complexity")


# self-paced


def test_the_open_share_of_the_rows_grows_with_the_stage(rows):
    difficulties = [place / 10 for place in range(10)]
    share = Schedule.of({0: 0.3, 0.5: 1.0})
    sampler = SelfPacedSampler(rows(difficulties), seed=0, share=share)
    assert {*sampler.take(30, 0.5)} == {0, 1, 2}
    assert sampler.metrics() == {"sampler/open_frac": 0.3, "sampler/hardest": 0.2}
    assert Counter(sampler.take(100, 0.6)) == pytest.approx(dict.fromkeys(range(10), 10), abs=1)
    assert sampler.metrics()["sampler/open_frac"] == 1.0


def test_an_open_row_comes_again_only_after_the_others(rows):
    sampler = SelfPacedSampler(rows([0.1] * 8), seed=0, share=Schedule.of(1.0))
    for _ in range(4):
        assert sorted(sampler.take(8)) == [*range(8)]


# window


def test_rows_outside_the_window_are_passed_over_and_tried_again(result):
    sampler = window(4, patience=2, memory=0.0)
    first = sampler.take(4)
    assert sorted(first) == [0, 1, 2, 3]
    rates = {0: 0.0, 1: 0.5, 2: 1.0, 3: 0.2}
    sampler.observe([result(place, rates[place]) for place in first])
    assert Counter(sampler.take(4)) == {1: 2, 3: 2}
    assert 2 <= sampler.metrics()["sampler/passed_over"] <= 4
    assert sampler.metrics()["sampler/inside_frac"] == 0.5
    assert {0, 2} <= {*sampler.take(4)}


def test_the_window_may_move(result):
    sampler = window(3, low={0: 0.6, 0.5: 0.0}, high={0: 1.0, 0.5: 0.4}, patience=50)
    sampler.observe([result(place, rate) for place, rate in enumerate((0.2, 0.5, 0.8))])
    assert {*sampler.take(6, 0.3)} == {2}
    assert {*sampler.take(6, 0.8)} == {0}
    metrics = sampler.metrics()
    assert (metrics["sampler/low"], metrics["sampler/high"]) == (0.0, 0.4)


def test_what_was_known_of_a_row_fades(result):
    sampler = window(1, memory=0.75)
    sampler.observe([result(0, 0.0)])
    sampler.observe([result(0, 1.0)])
    assert sampler.state_dict()["rates"] == [(0, 0.25)]
    sampler.observe([result(0, None)])
    assert sampler.state_dict()["rates"] == [(0, 0.25)]


def test_a_window_that_no_row_is_in_does_not_hang(result):
    sampler = window(5, patience=3)
    sampler.observe([result(place, 1.0) for place in range(5)])
    assert len(sampler.take(100)) == 100


# value


def test_pcl_takes_the_candidates_nearest_to_the_target():
    assert nearest([0.1, 0.45, 0.9, 0.6, 0.52], 0.5, 2) == [4, 1]
    assert value_loss([0.5], [[1, 1, 0, 1]]) == pytest.approx(0.0625)


def test_the_value_head_learns_which_rows_are_middling(result):
    rates = [0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0]
    sampler = ValueSampler(8, 0, Hidden(rates).features, candidates=4)
    taken = []
    for _ in range(60):
        places = sampler.take(2)
        assert len({*places}) == 2
        sampler.observe([result(place, rates[place]) for place in places])
        taken.append(places)
    assert all(3 in places for places in taken[-20:])
    assert sampler.metrics()["sampler/value_error"] < 0.02


def test_every_row_can_be_a_candidate_where_there_are_few():
    hidden = Hidden([0.5, 0.5])
    assert len(ValueSampler(2, 0, hidden.features, candidates=4).take(5)) == 5
    assert {*hidden.asked[0]} == {0, 1}


def test_the_value_of_rows_is_corrected_also_where_the_next_are_taken_before(result):
    rates = [place / 7 for place in range(8)]
    prompt, late = (ValueSampler(8, 0, Hidden(rates).features, candidates=1) for _ in range(2))
    for _ in range(3):
        prompt.observe([result(place, rates[place]) for place in prompt.take(8)])
    taken = late.take(8)
    for _ in range(3):
        before, taken = taken, late.take(8)
        late.observe([result(place, rates[place]) for place in before])
    assert late.state_dict()["weights"] == prompt.state_dict()["weights"]
    assert late.state_dict()["bias"] == prompt.state_dict()["bias"]


# angle


@pytest.mark.parametrize(
    ("reward", "angle", "moved"),
    [
        (0.0, 0.3, 0.0),
        (0.5, 0.3, 37.466205),
        (1.0, 0.3, 268.524783),
        (1.0, 0.5, 380.797078),
        (2.0, 0.5, 761.594156),
    ],
)
def test_gain_rl_moves_on_as_published(reward, angle, moved):
    assert movement(reward / 2, angle) == pytest.approx(moved, abs=1e-6)


def test_the_curve_over_the_ranks_is_a_bell():
    weights = [math.exp(log_weight(rank, 1.0, 2.0)) for rank in range(5)]
    shares = [weight / sum(weights) for weight in weights]
    expected = [0.238759, 0.270550, 0.238759, 0.164097, 0.087835]
    assert shares == pytest.approx(expected, abs=1e-6)


def test_ranks_are_drawn_as_often_as_the_curve_says():
    sampler = AngleSampler(5, 0, Hidden([5.0, 4.0, 3.0, 2.0, 1.0]).angles, width=2.0)
    sampler.load_state_dict(sampler.state_dict() | {"middle": 1.0})
    counts = Counter(sampler.take(1)[0] for _ in range(6000))
    shares = [counts[place] / 6000 for place in range(5)]
    expected = [0.238759, 0.270550, 0.238759, 0.164097, 0.087835]
    assert shares == pytest.approx(expected, abs=0.02)


def test_parallel_rows_come_first_and_right_answers_move_the_curve_on(result):
    hidden = Hidden([0.1, 0.9, 0.5, 0.7, 0.3, 0.2])
    sampler = AngleSampler(6, 0, hidden.angles, width=0.01, speed=2.0, most=3.0)
    assert sampler.take(2) == [1, 3]
    sampler.observe([result(1, 0.0), result(3, 0.0)])
    right = 2 * math.tanh(2 * -0.5) + 2 * math.tanh(2 * 0.8)
    assert sampler.metrics()["sampler/middle"] == pytest.approx(right)
    sampler.observe([result(1, 1.0)])
    sampler.observe([result(1, 1.0)])
    assert sampler.metrics()["sampler/middle"] == 5.0
    assert hidden.asked[0] == [*range(6)]


def test_a_batch_never_holds_a_row_twice_while_there_are_others():
    sampler = AngleSampler(6, 0, Hidden([1.0] * 6).angles, width=0.5)
    assert all(len({*sampler.take(6)}) == 6 for _ in range(20))
    assert len(sampler.take(15)) == 15


# LIM


def test_after_its_epochs_only_rows_that_learn_like_the_mean_are_left(result):
    curves = [[0, 0.5, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0.25, 0.5, 0.75, 1]]
    sampler = LimSampler(4, 0, epochs=4, threshold=0.6)
    for epoch in range(4):
        for _ in range(2):
            places = sampler.take(2)
            sampler.observe([result(place, curves[place][epoch]) for place in places])
    assert sampler.metrics() == {"sampler/kept_frac": 1.0}
    assert Counter(sampler.take(8)) == {0: 4, 3: 4}
    assert sampler.metrics() == {"sampler/kept_frac": 0.5}


def test_a_batch_across_the_last_border_is_still_of_all_rows(result):
    sampler = LimSampler(3, 0, epochs=2, threshold=-9)
    for _ in range(2):
        places = sampler.take(4)
        sampler.observe([result(place, 0.5) for place in places])
    assert sampler.metrics() == {"sampler/kept_frac": 1.0}
    sampler.take(1)
    assert len(sampler.state_dict()["kept"]) == 3


def test_a_threshold_that_no_row_reaches_is_said(result):
    sampler = LimSampler(2, 0, epochs=2, threshold=0.9)
    for _ in range(2):
        sampler.observe([result(place, float(place)) for place in sampler.take(2)])
    with pytest.raises(RunError, match=r"no row has a LIM score of 0\.9 or more, the highest is"):
        sampler.take(1)


# all of them

KINDS = {
    "uniform": UniformSampling(kind="uniform"),
    "easy_to_hard": EasyToHardSampling(kind="easy_to_hard", levels=3),
    "self_paced": SelfPacedSampling(kind="self_paced"),
    "window": WindowSampling(kind="window", low={0: 0.4, 0.5: 0.1}),
    "lim": LimSampling(kind="lim", epochs=2, threshold=-9),
}
MIXTURES = {
    "pooled": PooledMixture(kind="pooled"),
    "fixed": FixedMixture(kind="fixed", weights={"even": 1, "odd": {0: 1, 0.5: 3}}),
    "bandit": BanditMixture(kind="bandit", window=6),
}
CASES = [*((sampling, mixture) for sampling in KINDS for mixture in MIXTURES)]
CASES += [("value", "pooled"), ("angle", "pooled")]


@pytest.fixture
def build(rows):
    """Build a sampler over twelve rows of two sources."""
    made = [
        dataclasses.replace(row, source=("even", "odd")[place % 2])
        for place, row in enumerate(rows([place % 5 / 5 for place in range(12)]))
    ]
    hidden = Hidden([place / 12 for place in range(12)])

    def make(sampling: str, mixture: str):
        if sampling == "value":
            return ValueSampler(12, 5, hidden.features, candidates=2)
        if sampling == "angle":
            return AngleSampler(12, 5, hidden.angles, width=2, speed=1)
        return build_sampler(KINDS[sampling], MIXTURES[mixture], made, seed=5)

    return make


def live(sampler, result, steps, *, begin: int = 0) -> list[list[int]]:
    """Take and observe for some steps; what a row scores depends on it and on the step."""
    taken = []
    for step in range(begin, begin + steps):
        places = sampler.take(3, step / 20)
        taken.append(places)
        sampler.observe(
            [
                result(
                    place,
                    ((place * 7 + step) % 5) / 4,
                    source=("even", "odd")[place % 2],
                    gain=(place % 3) / 3,
                )
                for place in places
            ]
        )
    return taken


@pytest.mark.parametrize(("sampling", "mixture"), CASES)
def test_a_sampler_goes_on_where_its_state_was_taken(build, result, sampling, mixture):
    first, second = build(sampling, mixture), build(sampling, mixture)
    live(first, result, 11)
    state = json.loads(json.dumps(first.state_dict()))
    second.load_state_dict(state)
    assert json.loads(json.dumps(second.state_dict())) == state
    assert live(second, result, 9, begin=11) == live(first, result, 9, begin=11)
    assert second.metrics() == first.metrics()
    assert not first.exhausted()


@pytest.mark.parametrize(("sampling", "mixture"), CASES)
def test_two_processes_that_hear_the_same_results_choose_the_same(build, result, sampling, mixture):
    assert live(build(sampling, mixture), result, 12) == live(build(sampling, mixture), result, 12)


@pytest.mark.parametrize("sampling", [*KINDS, "value", "angle"])
def test_a_state_of_another_kind_is_refused(build, sampling):
    sampler = build(sampling, "pooled")
    with pytest.raises(RunError, match="start a new run"):
        sampler.load_state_dict({"nothing": 1})


def test_uniform_sampling_is_the_order_of_seed_and_epoch(build):
    assert build("uniform", "pooled").take(30) == RowSampler(12, seed=5).take(30)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"even": 1}, "no weight is given for odd"),
        ({"even": 1, "odd": 1, "od": 1}, "the rows have no source od"),
    ],
)
def test_weights_name_every_source_of_the_rows_and_no_other(rows, weights, said):
    made = [*rows([0.1], source="even"), *rows([0.1], source="odd")]
    with pytest.raises(DataError, match=said):
        build_sampler(KINDS["uniform"], FixedMixture(kind="fixed", weights=weights), made, seed=0)
