"""Ends a stage before its last step: at a token budget, at a reward, or where nothing rises any
more.

The rules are functions of what was logged; the state is the values they look back on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from mmrl.config.sampling import PlateauStop, RewardStop, StopConfig


class StopRules:
    """Hears every step's metrics and says when the stage is over."""

    def __init__(self, config: StopConfig, *, tokens: int = 0) -> None:
        """Start before the stage's first step, when the run has seen so many tokens."""
        self._config = config
        self._began = tokens
        self._values: dict[str, list[float]] = {"reward": [], "plateau": []}

    def observe(self, metrics: Mapping[str, float], tokens: int) -> str:
        """Hear a step; return the rule that ends the stage, or nothing.

        Args:
            metrics: Of the step.
            tokens: Completion tokens since the run began.
        """
        config = self._config
        for key, rule, span in (
            ("reward", config.reward, config.reward.steps if config.reward else 0),
            ("plateau", config.plateau, 2 * config.plateau.steps if config.plateau else 0),
        ):
            if rule is not None and rule.metric in metrics:
                self._values[key] = [*self._values[key], metrics[rule.metric]][-span:]
        if config.tokens is not None and tokens - self._began >= config.tokens:
            return "tokens"
        if config.reward and reached(self._values["reward"], config.reward):
            return "reward"
        if config.plateau and is_flat(self._values["plateau"], config.plateau):
            return "plateau"
        return ""

    def state_dict(self) -> dict[str, Any]:
        """Return the tokens before the stage and the values that the rules look back on."""
        return {"began": self._began, "values": {k: [*v] for k, v in self._values.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._began = state["began"]
        self._values = {key: [*values] for key, values in state["values"].items()}


def reached(values: Sequence[float], rule: RewardStop) -> bool:
    """Whether the mean of the last steps is as high as wanted.

    >>> reached([0.2, 0.9, 0.9], RewardStop(at_least=0.9, steps=2))
    True
    """
    return len(values) >= rule.steps and fmean(values[-rule.steps :]) >= rule.at_least


def is_flat(values: Sequence[float], rule: PlateauStop) -> bool:
    """Whether the mean of the last steps is no longer above that of as many before them.

    >>> is_flat([0.1, 0.2, 0.2, 0.1], PlateauStop(steps=2, min_gain=0.01))
    True
    """
    if len(values) < 2 * rule.steps:
        return False
    before, last = values[-2 * rule.steps : -rule.steps], values[-rule.steps :]
    return fmean(last) - fmean(before) < rule.min_gain
