"""Which keys of the objective go together, in one line each."""

from __future__ import annotations

from typing import get_args

import pytest

from mmrl.advantage import AdvantageForm
from mmrl.config.algo import AlgoConfig
from mmrl.loss import LossName
from mmrl.objectives.divergence import Estimator


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("algo.loss=sapo", "algo.ratio_cap=3"),
            "algo: ratio_cap does nothing with loss sapo, only with grpo, dr_grpo, dapo, bnpo, "
            "gspo, luspo",
        ),
        (
            ("algo.loss=gspo", "algo.ratio_bound=1000"),
            "algo: ratio_bound does nothing with loss gspo, only with grpo, dr_grpo, dapo, bnpo, "
            "cispo, sapo",
        ),
        (
            ("algo.sapo_temperatures=[1,2]",),
            "algo: sapo_temperatures does nothing with loss dapo, only with sapo",
        ),
        (
            ("algo.right=0.5",),
            "algo: right does nothing with advantage grpo, only with psr, nsr, w_reinforce",
        ),
        (
            ("algo.advantage=nsr", "algo.positive_weight=0.5"),
            "algo: positive_weight does nothing with advantage nsr, only with w_reinforce",
        ),
        (("algo.ratio_cap=1.2",), "algo: ratio_cap (1.2) has to be more than 1 + clip_high (1.28)"),
        (("algo.kl_clamp=10",), "algo: kl_clamp does nothing while kl_weight is 0"),
        (("algo.kl_estimator=k2",), "algo: kl_estimator does nothing while kl_weight is 0"),
        (
            ("algo.reference_reset.every=5",),
            "algo: reference_reset does nothing while kl_weight is 0",
        ),
        (
            ("algo.kl_weight=0.1", "algo.kl_estimator=k1"),
            "algo: kl_estimator k1 has no gradient on average; set kl_correction, or take k2 or k3",
        ),
        (("algo.loss=ppo",), "algo.loss: must be grpo, dr_grpo, dapo,"),
        (("algo.high_entropy_share=0",), "algo.high_entropy_share: must be more than 0, got 0"),
        (
            ("algo.advantage=psr", "rewards.terms.accuracy=null"),
            "algo.advantage psr goes by the rows' accuracy: rewards.terms needs 'accuracy', if "
            "only with weight 0",
        ),
        (
            ("algo.imitation.adapt.gain_every=5",),
            "algo.imitation.adapt measures its gain by the responses of data.heldout: give some, "
            "or set gain_every=0",
        ),
        (
            ("algo.imitation.weight=0.99", "algo.imitation.adapt.gain_every=0"),
            "weight (0.99) is not between adapt.low (0.05) and adapt.high (0.95)",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_one_line(mistakes, arguments, line):
    [found] = mistakes("stage=toy/grpo", *arguments)
    assert line in found


def test_the_keys_name_what_the_objectives_have():
    """The schema must not load torch, so it writes the names down a second time."""
    fields = AlgoConfig.model_fields
    assert get_args(fields["loss"].annotation) == get_args(LossName)
    assert get_args(fields["advantage"].annotation) == get_args(AdvantageForm)
    assert get_args(fields["kl_estimator"].annotation) == get_args(Estimator)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "rover", "advantage": "dr_grpo"},
        {"loss": "sapo", "sapo_temperatures": (1.0, 1.1)},
        {"advantage": "w_reinforce", "right": 0.5, "positive_weight": 0.2},
        {"ratio_cap": 10, "ratio_bound": 1000, "advantage_limit": 3, "advantage": "batch"},
        {"kl_weight": 0.1, "kl_estimator": "k1", "kl_correction": True, "kl_clamp": 10},
        {"kl_weight": 0.1, "reference_reset": {"every": 100}, "empg": {"sharpness": 2}},
    ],
)
def test_published_objectives_are_accepted(settings):
    AlgoConfig(**settings)
