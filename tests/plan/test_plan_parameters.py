"""Parameter counts against the models that transformers builds."""

from __future__ import annotations

import pytest

from mmrl.plan.dimensions import TINY
from mmrl.plan.parameters import named_parameters


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_model_has_the_parameters_that_are_named(name):
    from mmrl.tiny.models import build_tiny

    model, _ = build_tiny(name, seed=0)

    built = {key: weights.numel() for key, weights in model.named_parameters()}
    assert named_parameters(TINY[name]) == built
