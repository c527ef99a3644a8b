from __future__ import annotations

import pytest

from mmrl.config.sampling import (
    BandWeight,
    EasyWeight,
    EqualWeight,
    HardWeight,
    MediumWeight,
    UncertainWeight,
)
from mmrl.curriculum.weights import group_weight, right_share, weigh_groups

EASY, MEDIUM = EasyWeight(kind="odsw_easy"), MediumWeight(kind="odsw_medium")
HARD = HardWeight(kind="odsw_hard")


@pytest.mark.parametrize(
    ("share", "easy", "medium", "hard"),
    [
        (0.0, 0.0, 0.0, 0.25),
        (0.0625, 0.195090, 0.195090, 1.0),
        (0.25, 0.707107, 0.707107, 1.0),
        (0.5, 1.0, 1.0, 1.0),
        (0.625, 1.0, 0.923880, 0.923880),
        (0.75, 1.0, 0.707107, 0.707107),
        (1.0, 1.0, 0.0, 0.0),
    ],
)
def test_vl_cogitos_weights_are_the_published_ones(share, easy, medium, hard):
    assert group_weight(share, EASY) == pytest.approx(easy, abs=1e-6)
    assert group_weight(share, MEDIUM) == pytest.approx(medium, abs=1e-6)
    assert group_weight(share, HARD) == pytest.approx(hard, abs=1e-6)


def test_a_hard_group_without_a_right_rollout_may_weigh_as_the_paper_says():
    paper = HardWeight(kind="odsw_hard", all_wrong=1.0)
    assert group_weight(0.0, paper) == 1.0


def test_a_group_that_is_all_right_weighs_exactly_nothing():
    assert group_weight(1.0, MEDIUM) == 0.0
    assert group_weight(1.0, HARD) == 0.0


@pytest.mark.parametrize(
    ("right", "weight"), [(0, 0), (1, 0.7875), (2, 1.35), (4, 1.8), (6, 1.35), (8, 0)]
)
def test_observe_r1_weighs_uncertain_groups_most(right, weight):
    config = UncertainWeight(kind="observe_r1")
    assert group_weight(right / 8, config) == pytest.approx(weight)


def test_a_band_is_closed_at_both_ends_and_leaves_out_groups_without_a_right_one():
    config = BandWeight(kind="band", low=0.0, high=0.5)
    shares = (0.0, 0.125, 0.5, 0.625)
    assert [group_weight(share, config) for share in shares] == [0.0, 1.0, 1.0, 0.0]


def test_observe_r1s_group_gets_the_published_advantages(group):
    from mmrl.advantage import _centred, spread

    scores = [1.5, 1.7, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0]
    rollouts_G = group(2, scores=scores)
    for rollout, centred in zip(rollouts_G, _centred(scores), strict=True):
        rollout.advantage = centred / spread(scores)
    metrics = weigh_groups([rollouts_G], UncertainWeight(kind="observe_r1"))
    expected = [1.8275, 2.2574, *[-0.3225] * 4, *[-1.3975] * 2]
    found = [rollout.advantage for rollout in rollouts_G]
    assert found == pytest.approx(expected, abs=1e-4)
    assert metrics == {"weight/mean": 1.35, "weight/min": 1.35, "weight/max": 1.35}


def test_equal_weights_leave_every_bit_as_it_is(group):
    rollouts_G = group(3, advantage=0.1)
    assert weigh_groups([rollouts_G], EqualWeight(kind="equal")) == {}
    assert {rollout.advantage for rollout in rollouts_G} == {0.1}


def test_what_could_not_be_judged_has_no_part_in_the_share(group):
    rollouts_G = group(2, of=4)
    rollouts_G[3].verdict.parts["accuracy"] = None
    assert right_share(rollouts_G) == pytest.approx(2 / 3)
    for rollout in rollouts_G:
        rollout.verdict.parts["accuracy"] = None
    assert right_share(rollouts_G) is None
    assert weigh_groups([rollouts_G], MEDIUM) == {}


def test_right_may_begin_below_one(group):
    rollouts_G = group(2, of=4)
    for rollout in rollouts_G[2:]:
        rollout.verdict.parts["accuracy"] = 0.6
    assert right_share(rollouts_G) == 0.5
    assert right_share(rollouts_G, right=0.5) == 1.0
