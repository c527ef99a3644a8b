"""Makes the sampler of a stage from its sections `sampling` and `mixture`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from mmrl.config.sampling import (
    AngleSampling,
    AnyMixture,
    AnySampling,
    BanditMixture,
    EasyToHardSampling,
    FixedMixture,
    LimSampling,
    PooledMixture,
    SelfPacedSampling,
    SftMixture,
    SftSampling,
    ValueSampling,
    WindowSampling,
)
from mmrl.curriculum.angle import AngleSampler
from mmrl.curriculum.contract import Sampler
from mmrl.curriculum.lim import LimSampler
from mmrl.curriculum.mixture import BanditWeights, FixedWeights, MixtureSampler
from mmrl.curriculum.ordered import SelfPacedSampler, easy_to_hard
from mmrl.curriculum.value import ValueSampler
from mmrl.curriculum.window import WindowSampler
from mmrl.data.sampler import RowSampler
from mmrl.errors import DataError
from mmrl.schedule import Schedule
from mmrl.seeds import derive
from mmrl.types import Row

if TYPE_CHECKING:
    from mmrl.model import Policy
    from mmrl.prompt import Prompts


def build_sampler(
    sampling: AnySampling | SftSampling,
    mixture: AnyMixture | SftMixture,
    rows: Sequence[Row],
    *,
    seed: int,
    prompts: Prompts | None = None,
    policy: Policy | None = None,
) -> Sampler:
    """Return the sampler of a stage at its start.

    Args:
        sampling: Which rows of a source come next.
        mixture: Which source comes next.
        rows: Of the stage, at least one.
        seed: Of all orders and draws.
        prompts: The policy's prompts, for samplers that ask it.
        policy: The policy, with its weights as they are spread over the processes.

    Raises:
        DataError: the rows lack what the sampler goes by, or the mixture's weights are not of the
            rows' sources.
    """
    if isinstance(mixture, PooledMixture):
        return _build_one(sampling, rows, seed=seed, prompts=prompts, policy=policy)
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.source, []).append(place)
    if isinstance(mixture, FixedMixture):
        _check_sources([*mixture.weights], [*places])
        places = {source: places[source] for source in mixture.weights}
        schedules = {source: Schedule.of(given) for source, given in mixture.weights.items()}
        weights = FixedWeights(schedules)
    else:
        weights = _bandit([*places], mixture)
    samplers = {
        source: _build_one(
            sampling,
            [rows[place] for place in own],
            seed=derive(seed, "source", source),
            prompts=prompts,
            policy=policy,
        )
        for source, own in places.items()
    }
    stop = isinstance(mixture, FixedMixture) and mixture.exhausted == "stop"
    return MixtureSampler(places, samplers, weights, seed=seed, stop=stop)


def _bandit(sources: Sequence[str], mixture: BanditMixture) -> BanditWeights:
    return BanditWeights(
        sources,
        window=mixture.window,
        temperature=mixture.temperature,
        exploration=mixture.exploration,
    )


def _build_one(
    sampling: AnySampling | SftSampling,
    rows: Sequence[Row],
    *,
    seed: int,
    prompts: Prompts | None,
    policy: Policy | None,
) -> Sampler:
    if isinstance(sampling, EasyToHardSampling):
        return easy_to_hard(rows, seed=seed, then_by=sampling.then_by, levels=sampling.levels)
    if isinstance(sampling, SelfPacedSampling):
        return SelfPacedSampler(rows, seed=seed, share=Schedule.of(sampling.open))
    if isinstance(sampling, WindowSampling):
        return WindowSampler(
            len(rows),
            seed,
            low=Schedule.of(sampling.low),
            high=Schedule.of(sampling.high),
            memory=sampling.memory,
            patience=sampling.patience,
        )
    if isinstance(sampling, LimSampling):
        return LimSampler(len(rows), seed, epochs=sampling.epochs, threshold=sampling.threshold)
    if isinstance(sampling, ValueSampling | AngleSampling):
        return _build_asking(sampling, rows, seed=seed, prompts=prompts, policy=policy)
    return RowSampler(len(rows), seed=seed)


def _build_asking(
    sampling: ValueSampling | AngleSampling,
    rows: Sequence[Row],
    *,
    seed: int,
    prompts: Prompts | None,
    policy: Policy | None,
) -> Sampler:
    """A sampler that asks the policy about prompts."""
    if prompts is None or policy is None:
        raise ValueError(f"sampling.kind {sampling.kind} asks the policy, and there is none")
    from mmrl.curriculum.features import angle_signals, value_features

    if isinstance(sampling, ValueSampling):
        return ValueSampler(
            len(rows),
            seed,
            partial(value_features, policy, prompts, rows),
            target=sampling.target,
            candidates=sampling.candidates,
            lr=sampling.lr,
        )
    return AngleSampler(
        len(rows),
        seed,
        partial(angle_signals, policy, prompts, rows),
        width=sampling.width,
        speed=sampling.speed,
        sensitivity=sampling.sensitivity,
        target=sampling.target,
        most=sampling.most,
    )


def _check_sources(given: Sequence[str], found: Sequence[str]) -> None:
    if {*given} != {*found}:
        missing = sorted({*found} - {*given})
        unknown = sorted({*given} - {*found})
        said = "; ".join(
            f"{words} {', '.join(names)}"
            for words, names in (
                ("no weight is given for", missing),
                ("the rows have no source", unknown),
            )
            if names
        )
        raise DataError(f"mixture.weights: {said}; a weight of 0 leaves a source out")
