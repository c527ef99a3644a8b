"""Rows whose predicted mean score is nearest to a target, so that nothing is sampled in vain.

Prompt Curriculum Learning (arXiv 2510.01135): look at several candidates for each row that is
wanted, let a value model predict each one's mean score from its prompt, take the ones nearest to
0.5, and regress the value model on the scores that they then get. Here the value model is a linear
head on the policy's own hidden state after the prompt, corrected by the normalised LMS rule: a step
of `lr` takes away that share of its error, whatever the size of the states.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from math import fsum
from statistics import fmean
from typing import Any

from mmrl.curriculum.contract import GroupResult
from mmrl.data.sampler import RowSampler
from mmrl.errors import RunError

Features = Callable[[Sequence[int]], list[list[float]]]
"""The hidden states [D] after the prompts of the rows at some places, by the policy as it is."""


class ValueSampler:
    """Takes the candidates whose predicted score is nearest to the target."""

    def __init__(
        self,
        count: int,
        seed: int,
        features: Features,
        *,
        target: float = 0.5,
        candidates: int = 4,
        lr: float = 0.5,
    ) -> None:
        """Start with a head that predicts the target for every row.

        Args:
            count: Of the rows.
            seed: Of the order of the candidates.
            features: Hidden states of prompts.
            target: The predicted score that is wanted.
            candidates: Looked at for each row taken.
            lr: Share of its error that the head corrects at once.
        """
        self._count, self._features = count, features
        self._target, self._candidates, self._lr = target, candidates, lr
        self._visits = RowSampler(count, seed)
        self._weights_D: list[float] = []
        self._bias = target
        self._seen: defaultdict[int, deque[list[float]]] = defaultdict(deque)
        """By place, for each time that it was taken and not heard of yet."""
        self._error, self._predicted = 0.0, target

    def take(self, count: int, progress: float = 0.0) -> list[int]:
        """Return the places of the candidates nearest to the target."""
        places: list[int] = []
        while len(places) < max(count, min(count * self._candidates, self._count)):
            place = self._visits.take(1)[0]
            if place not in places or len(places) >= self._count:
                places.append(place)
        features_PD = self._features(places)
        values = [self._value(features_D) for features_D in features_PD]
        chosen = sorted(nearest(values, self._target, count))
        self._predicted = fmean(values[index] for index in chosen)
        for index in chosen:
            self._seen[places[index]].append(features_PD[index])
        return [places[index] for index in chosen]

    def observe(self, results: Sequence[GroupResult]) -> None:
        """Correct the head by what the rows scored, and forget their states."""
        errors = []
        for result in results:
            features_D = self._seen[result.place].popleft()
            if result.score is None:
                continue
            self._weights_D = self._weights_D or [0.0] * len(features_D)
            error = result.score - self._value(features_D)
            errors.append(error * error)
            share = self._lr * error / (1.0 + fsum(value * value for value in features_D))
            self._bias += share
            self._weights_D = [
                weight + share * value
                for weight, value in zip(self._weights_D, features_D, strict=True)
            ]
        self._error = fmean(errors) if errors else self._error

    def exhausted(self) -> bool:
        """Return False: another epoch of candidates always follows."""
        return False

    def metrics(self) -> dict[str, float]:
        """`sampler/value`, the mean prediction for the rows taken, and its squared error."""
        return {"sampler/value": self._predicted, "sampler/value_error": self._error}

    def state_dict(self) -> dict[str, Any]:
        """Return the head and where the candidates stand."""
        return {
            "visits": self._visits.state_dict(),
            "weights": [*self._weights_D],
            "bias": self._bias,
            "error": self._error,
            "predicted": self._predicted,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            RunError: the state is none of this sampler, or was taken with more rows.
        """
        if "weights" not in state:
            raise RunError("the sampler's state is not that of a value head; start a new run")
        self._visits.load_state_dict(state["visits"])
        self._weights_D, self._bias = [*state["weights"]], state["bias"]
        self._error, self._predicted = state["error"], state["predicted"]
        self._seen.clear()

    def _value(self, features_D: Sequence[float]) -> float:
        pairs = zip(self._weights_D, features_D, strict=bool(self._weights_D))
        return self._bias + fsum(weight * value for weight, value in pairs)


def nearest(values: Sequence[float], target: float, count: int) -> list[int]:
    """Return the indices of the values nearest to the target, the nearest first.

    >>> nearest([0.1, 0.45, 0.9, 0.6, 0.52], 0.5, 2)
    [4, 1]
    """
    return sorted(range(len(values)), key=lambda index: abs(values[index] - target))[:count]


def value_loss(values: Sequence[float], scores_PG: Sequence[Sequence[float]]) -> float:
    """Return what the value model is trained to make small: squared errors of the mean scores.

    >>> value_loss([0.5], [[1, 1, 0, 1]])
    0.0625
    """
    return fsum(
        (value - fmean(scores_G)) ** 2 for value, scores_G in zip(values, scores_PG, strict=True)
    )
