"""Which source the next row comes from; within a source, its own sampler says which row.

`fixed`   each row's source is drawn by given weights (MoDoMoDo, arXiv 2505.24871)
`bandit`  by what sources still teach: P = softmax(bound / temperature), where a source's bound is
          its mean |advantage| over its last rollouts + sqrt(2 ln(N + 1) / (n + 1)), with n of all N
          rollouts its own (DUMP, arXiv 2504.09710)

DUMP's code takes its statistics from validation; here they come from training, which costs nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, Protocol

from mmrl.curriculum.contract import GroupResult, Sampler
from mmrl.errors import RunError
from mmrl.schedule import Schedule
from mmrl.seeds import derive


class Weights(Protocol):
    """How likely each source is to be drawn."""

    def at(self, progress: float) -> dict[str, float]:
        """Return the probability of each source; they sum to 1."""
        ...

    def observe(self, results: Sequence[GroupResult]) -> None:
        """Hear how groups did."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what the probabilities depend on, as JSON holds it."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        ...


class FixedWeights:
    """Weights that the configuration gives, by progress."""

    def __init__(self, weights: Mapping[str, Schedule]) -> None:
        """Take the weights, which need not sum to 1."""
        self._weights = weights

    def at(self, progress: float) -> dict[str, float]:
        """Return the probability of each source; they sum to 1."""
        return normalised({key: weight.at(progress) for key, weight in self._weights.items()})

    def observe(self, results: Sequence[GroupResult]) -> None:
        """Hear how groups did, which changes nothing here."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: there is no state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, which is empty."""


class BanditWeights:
    """DUMP's upper confidence bounds over sources."""

    def __init__(
        self,
        sources: Sequence[str],
        *,
        window: int = 300,
        temperature: float = 0.1,
        exploration: float = 2.0,
    ) -> None:
        """Start with nothing known, when all sources are equally likely."""
        self._temperature, self._exploration = temperature, exploration
        self._gains = {source: deque[float](maxlen=window) for source in sources}
        self._counts = dict.fromkeys(sources, 0)

    def at(self, progress: float) -> dict[str, float]:
        """Return the probability of each source; they sum to 1."""
        bounds = upper_bounds(
            [fmean(gains) if gains else 0.0 for gains in self._gains.values()],
            [*self._counts.values()],
            exploration=self._exploration,
        )
        return dict(zip(self._gains, softmax(bounds, self._temperature), strict=True))

    def observe(self, results: Sequence[GroupResult]) -> None:
        """Note the size of every rollout's advantage."""
        for result in results:
            self._gains[result.source].extend(map(abs, result.advantages_G))
            self._counts[result.source] += len(result.advantages_G)

    def state_dict(self) -> dict[str, Any]:
        """Return the windows and the counts."""
        return {
            "gains": {source: [*gains] for source, gains in self._gains.items()},
            "counts": dict(self._counts),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        for source, gains in self._gains.items():
            gains.clear()
            gains.extend(state["gains"][source])
        self._counts = dict(state["counts"])


class MixtureSampler:
    """Draws a source for each row, then takes the source's next row."""

    def __init__(
        self,
        places: Mapping[str, Sequence[int]],
        samplers: Mapping[str, Sampler],
        weights: Weights,
        *,
        seed: int,
        stop: bool = False,
    ) -> None:
        """Start with no row drawn.

        Args:
            places: Of each source's rows among the stage's rows.
            samplers: Of each source, over its own rows.
            weights: Of the sources.
            seed: Of the draws.
            stop: End the stage when a source that may be drawn has no unseen row left.
        """
        self._places, self._samplers, self._weights = places, samplers, weights
        self._seed, self._stop = seed, stop
        self._own = {
            place: (source, index)
            for source, own in places.items()
            for index, place in enumerate(own)
        }
        self._taken = dict.fromkeys(places, 0)
        self._draws = 0
        self._last = weights.at(0.0)

    def take(self, count: int, progress: float = 0.0) -> list[int]:
        """Return the next places, each of a source of its own draw."""
        self._last = self._weights.at(progress)
        drawn = [self._draw() for _ in range(count)]
        fresh = {
            source: iter(self._samplers[source].take(drawn.count(source), progress))
            for source in dict.fromkeys(drawn)
        }
        return [self._places[source][next(fresh[source])] for source in drawn]

    def observe(self, results: Sequence[GroupResult]) -> None:
        """Tell the weights, and each source's sampler what is its own."""
        self._weights.observe(results)
        for source, sampler in self._samplers.items():
            own = [
                replace(result, place=self._own[result.place][1])
                for result in results
                if self._own[result.place][0] == source
            ]
            if own:
                sampler.observe(own)

    def exhausted(self) -> bool:
        """Whether a source that may be drawn has no unseen row left, where that ends the stage."""
        return self._stop and any(
            self._last[source] > 0 and self._taken[source] >= len(own)
            for source, own in self._places.items()
        )

    def metrics(self) -> dict[str, float]:
        """`mixture/<source>`, its probability; and what each source's sampler says."""
        metrics = {f"mixture/{source}": share for source, share in self._last.items()}
        for source, sampler in self._samplers.items():
            metrics |= {f"{key}/{source}": value for key, value in sampler.metrics().items()}
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return the draws, the weights' state and that of each source's sampler."""
        return {
            "draws": self._draws,
            "taken": dict(self._taken),
            "weights": self._weights.state_dict(),
            "samplers": {key: sampler.state_dict() for key, sampler in self._samplers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            RunError: the state is none of this mixture, or of other sources.
        """
        if {*state.get("samplers", ())} != {*self._samplers}:
            raise RunError(
                f"the mixture's state is not of the sources {', '.join(self._samplers)}; the data "
                "changed, start a new run"
            )
        self._draws, self._taken = state["draws"], dict(state["taken"])
        self._weights.load_state_dict(state["weights"])
        for source, sampler in self._samplers.items():
            sampler.load_state_dict(state["samplers"][source])

    def _draw(self) -> str:
        """The source of the next row; one that ended the stage is left out while others last."""
        shares = self._last
        if self._stop:
            left = {
                source: share
                for source, share in shares.items()
                if self._taken[source] < len(self._places[source])
            }
            shares = normalised(left) if sum(left.values()) > 0 else shares
        point = derive(self._seed, "source", self._draws) / 2**63
        self._draws += 1
        source = _at(shares, point)
        self._taken[source] += 1
        return source


def upper_bounds(
    gains: Sequence[float], counts: Sequence[int], *, exploration: float = 2.0
) -> list[float]:
    """Return each source's mean |advantage| with what is still open about it added.

    >>> [round(bound, 6) for bound in upper_bounds([0.5, 0.2, 0.0], [100, 50, 10])]
    [0.81721, 0.646398, 0.961193]
    """
    total = sum(counts)
    return [
        gain + math.sqrt(exploration * math.log(total + 1) / (count + 1))
        for gain, count in zip(gains, counts, strict=True)
    ]


def softmax(values: Sequence[float], temperature: float) -> list[float]:
    """Return shares that sum to 1, larger for larger values, and sharper the lower the
    temperature.
    """
    top = max(values)
    powers = [math.exp((value - top) / temperature) for value in values]
    return [power / math.fsum(powers) for power in powers]


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    """Return the weights as shares that sum to 1."""
    total = math.fsum(weights.values())
    return {key: weight / total for key, weight in weights.items()}


def _at(shares: Mapping[str, float], point: float) -> str:
    """The source in whose part of the line from 0 to 1 the point lies."""
    reached = 0.0
    for source, share in shares.items():
        reached += share
        if point < reached:
            return source
    return next(source for source in reversed([*shares]) if shares[source] > 0)
