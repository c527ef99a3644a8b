from __future__ import annotations

import json
from collections import Counter

import pytest

from mmrl.curriculum.mixture import (
    BanditWeights,
    FixedWeights,
    MixtureSampler,
    softmax,
    upper_bounds,
)
from mmrl.data.sampler import RowSampler
from mmrl.errors import RunError
from mmrl.schedule import Schedule

PLACES = {"a": [0, 2, 4, 6], "b": [1, 3, 5]}


def fixed(**weights) -> FixedWeights:
    return FixedWeights({key: Schedule.of(weight) for key, weight in weights.items()})


def sampler(weights, *, places=PLACES, stop: bool = False) -> MixtureSampler:
    samplers = {key: RowSampler(len(own), seed=1) for key, own in places.items()}
    return MixtureSampler(places, samplers, weights, seed=7, stop=stop)


def test_dumps_bounds_and_shares_are_the_published_ones():
    bounds = upper_bounds([0.5, 0.2, 0.0], [100, 50, 10])
    assert bounds == pytest.approx([0.817210, 0.646398, 0.961193], abs=1e-6)
    assert softmax(bounds, 0.1) == pytest.approx([0.185144, 0.033549, 0.781307], abs=1e-6)


def test_a_source_is_drawn_as_often_as_it_weighs():
    taken = sampler(fixed(a=3, b=1)).take(4000)
    assert sum(place in PLACES["a"] for place in taken) / 4000 == pytest.approx(0.75, abs=0.02)


def test_every_row_of_a_source_comes_before_any_comes_again():
    taken = [place for place in sampler(fixed(a=1, b=1)).take(200) if place in PLACES["a"]]
    for start in range(0, len(taken) - 4, 4):
        assert sorted(taken[start : start + 4]) == PLACES["a"]


def test_weights_may_move_with_the_stage():
    mixture = sampler(fixed(a={0: 1, 0.5: 0}, b={0: 0, 0.5: 1}))
    assert {place in PLACES["a"] for place in mixture.take(20, 0.2)} == {True}
    assert mixture.metrics() == {"mixture/a": 1.0, "mixture/b": 0.0}
    assert {place in PLACES["a"] for place in mixture.take(20, 0.7)} == {False}
    assert mixture.metrics() == {"mixture/a": 0.0, "mixture/b": 1.0}


def test_three_rows_of_the_only_source_make_three_steps():
    mixture = sampler(fixed(a=1, b=0), places={"a": [0, 1, 2], "b": [3]}, stop=True)
    steps = 0
    while not mixture.exhausted():
        assert mixture.take(1)[0] in (0, 1, 2)
        steps += 1
    assert steps == 3


def test_a_source_that_runs_out_amid_a_batch_leaves_the_rest_to_the_others():
    mixture = sampler(fixed(a=1, b=1), places={"a": [0], "b": [*range(1, 50)]}, stop=True)
    taken = mixture.take(20)
    assert Counter(taken)[0] == 1
    assert mixture.exhausted()


def test_the_bandit_begins_even_and_goes_where_advantages_are(result):
    bandit = BanditWeights(["a", "b"], temperature=0.1, exploration=0.0)
    assert bandit.at(0.0) == {"a": 0.5, "b": 0.5}
    bandit.observe([result(0, 1.0, source="a", gain=0.0), result(1, 0.5, source="b", gain=0.8)])
    assert bandit.at(0.0)["b"] > 0.99
    bandit.observe([result(1, 1.0, source="b", gain=0.0)] * 200)
    assert bandit.at(0.0)["b"] == pytest.approx(0.5, abs=0.05)


def test_the_bandit_looks_back_on_its_window_only(result):
    bandit = BanditWeights(["a", "b"], window=4)
    bandit.observe([result(0, 0.5, source="a", gain=1.0)] * 9)
    bandit.observe([result(0, 0.5, source="a", gain=0.0)] * 2)
    assert bandit.state_dict() == {
        "gains": {"a": [0.0] * 4, "b": []},
        "counts": {"a": 22, "b": 0},
    }


def test_the_bandit_tries_what_it_has_not_seen_lately(result):
    bandit = BanditWeights(["a", "b"])
    bandit.observe([result(0, 0.5, source="a", gain=0.5)] * 100)
    assert bandit.at(0.0)["b"] > bandit.at(0.0)["a"]


@pytest.mark.parametrize("taken", [0, 5, 13])
def test_a_mixture_goes_on_where_its_state_was_taken(result, taken):
    def fresh():
        return sampler(BanditWeights(["a", "b"]))

    first, second = fresh(), fresh()
    for place in first.take(taken):
        source = "a" if place in PLACES["a"] else "b"
        first.observe([result(place, 0.5, source=source, gain=0.3 * (source == "a"))])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.take(30) == first.take(30)
    assert second.metrics() == first.metrics()


def test_a_state_of_other_sources_is_refused():
    state = sampler(fixed(a=1, b=1)).state_dict()
    other = sampler(fixed(a=1, c=1), places={"a": [0], "c": [1]})
    with pytest.raises(RunError, match="not of the sources a, c"):
        other.load_state_dict(state)
