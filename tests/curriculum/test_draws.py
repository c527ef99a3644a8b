"""Draws go on until the batch is full of groups that teach, and no further."""

from __future__ import annotations

import pytest

from mmrl.config.sampling import BandFilter, EqualWeight, MediumWeight, NoFilter, SpreadFilter
from mmrl.curriculum.draws import Draws, teaches

EQUAL = EqualWeight(kind="equal")


def draw(draws: Draws, groups) -> list[int]:
    """Feed the groups until nothing is missing; return how many each draw asked for."""
    waiting = iter(enumerate(groups))
    asked = []
    while draws.missing:
        asked.append(draws.missing)
        drawn = [next(waiting) for _ in range(draws.missing)]
        draws.add([place for place, _ in drawn], [rollouts_G for _, rollouts_G in drawn])
    return asked


def test_without_a_filter_there_is_one_draw_and_its_seed_is_the_steps(group):
    draws = Draws(config=NoFilter(kind="none"), wanted=3)
    assert draws.seed(17) == 17
    groups = [group(0), group(8), group(3)]
    assert draw(draws, groups) == [3]
    assert draws.batch_PG == draws.drawn_PG == groups
    assert draws.weigh(EQUAL) == {}
    assert len(draws.rollouts) == 24


def test_dynamic_sampling_draws_what_is_missing_until_all_groups_have_spread(group):
    draws = Draws(config=SpreadFilter(kind="spread"), wanted=3)
    groups = [group(0), group(4), group(8), group(8), group(1), group(7)]
    assert draw(draws, groups) == [3, 2, 1]
    assert draws.batch_PG == [groups[1], groups[4], groups[5]]
    assert draws.weigh(EQUAL) == {"filter/drawn": 6.0, "filter/kept": 3.0, "filter/draws": 3.0}
    assert [result.kept for result in draws.results()] == [False, True, False, False, True, True]
    assert [result.place for result in draws.results()] == [*range(6)]


def test_each_draw_samples_from_a_seed_of_its_own(group):
    draws = Draws(config=SpreadFilter(kind="spread"), wanted=1)
    seeds = [draws.seed(17)]
    for _ in range(3):
        draws.add([0], [group(0)])
        seeds.append(draws.seed(17))
    assert seeds[0] == 17
    assert len({*seeds}) == 4


def test_after_the_last_draw_the_batch_is_filled_up_with_groups_that_teach_nothing(group):
    draws = Draws(config=BandFilter(kind="band", max_draws=2), wanted=3)
    groups = [group(1), group(4), group(7), group(0), group(8)]
    assert draw(draws, groups) == [3, 2]
    assert draws.batch_PG == [groups[1], groups[0], groups[2]]
    metrics = draws.weigh(MediumWeight(kind="odsw_medium"))
    assert metrics["filter/kept"] == 1
    assert metrics["weight/mean"] == 1.0
    sums = [sum(abs(rollout.advantage) for rollout in rollouts_G) for rollouts_G in draws.batch_PG]
    assert sums == [8.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("right", "kept"), [(0, False), (1, False), (2, True), (6, True), (7, False), (8, False)]
)
def test_online_difficulty_filtering_keeps_the_published_band(group, right, kept):
    assert teaches(group(right), BandFilter(kind="band")) is kept


def test_spread_is_that_of_the_scores_and_unjudged_rollouts_have_none(group):
    spread = SpreadFilter(kind="spread")
    assert not teaches(group(4, scores=[0.5] * 8), spread)
    assert teaches(group(0, scores=[0.5] * 7 + [0.4]), spread)
    assert not teaches(group(0, scores=[0.5] + [None] * 7), spread)


def test_a_sampler_hears_of_groups_that_are_not_trained_on(group):
    draws = Draws(config=SpreadFilter(kind="spread", max_draws=1), wanted=2)
    draw(draws, [group(2, of=4), group(4, of=4)])
    heard = draws.results()
    assert [result.accuracy for result in heard] == [0.5, 1.0]
    assert heard[0].lengths_G == (1, 2, 3, 4)
