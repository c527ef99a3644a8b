"""Mean relative accuracy (VSI-Bench, arXiv 2412.14171): the share of the thresholds 0.50, 0.55 ...
0.95 for which the relative error is at most one minus the threshold.
"""

from __future__ import annotations

from decimal import Decimal

from mmrl.verify.detections import COCO_THRESHOLDS

_EXACT = tuple(Decimal(step) / 100 for step in range(5, 55, 5))
"""Relative errors that are allowed, 0.05 to 0.50."""


def float_mra(value: float, gold: float) -> float:
    """Return the measure in the benchmark's own binary arithmetic, in which 12 for 10 gets 0.6.

    A gold number of 0 divides by zero there; here only 0 is right.
    """
    if gold == 0:
        return float(value == 0)
    error = abs(value - gold) / gold
    return sum(error <= 1 - threshold for threshold in COCO_THRESHOLDS) / len(COCO_THRESHOLDS)


def exact_mra(value: Decimal, gold: Decimal) -> float:
    """Return the measure in decimal arithmetic, in which 12 for 10 gets 0.7, as the reward does."""
    if gold == 0:
        return float(value == 0)
    error = abs(value - gold) / abs(gold)
    return sum(error <= allowed for allowed in _EXACT) / len(_EXACT)
