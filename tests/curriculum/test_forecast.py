"""What is foreseen is what is taken, where results change nothing; and looking changes nothing
anywhere.
"""

from __future__ import annotations

import dataclasses
import random
from functools import partial

import pytest
from pydantic import TypeAdapter

from mmrl.config.sampling import POOLED, UNIFORM, AnyMixture, AnySampling
from mmrl.config.schema import GrpoStage
from mmrl.curriculum.build import build_sampler
from mmrl.curriculum.contract import GroupResult
from mmrl.curriculum.forecast import Forecast, build_forecast
from mmrl.distributed.ranks import Ranks

STEPS, COUNT = 24, 3
SAMPLINGS = {
    "uniform": ({"kind": "uniform"}, {"kind": "pooled"}),
    "easy": ({"kind": "easy_to_hard", "levels": 3}, {"kind": "pooled"}),
    "paced": ({"kind": "self_paced", "open": {0: 0.3, 0.2: 0.6, 0.5: 1.0}}, {"kind": "pooled"}),
    "fixed": ({"kind": "uniform"}, {"kind": "fixed", "weights": {"a": {0: 1, 0.5: 3}, "b": 2}}),
    "window": ({"kind": "window", "low": 0.3, "high": 0.6}, {"kind": "pooled"}),
    "lim": ({"kind": "lim", "epochs": 2, "threshold": 0.3}, {"kind": "pooled"}),
    "bandit": ({"kind": "uniform"}, {"kind": "bandit"}),
}
EXACT = ("uniform", "easy", "paced", "fixed")


@pytest.fixture
def rows(ask):
    return [
        dataclasses.replace(
            ask("image:a.png", "?", row_id=f"r{place}", difficulty=place / 11),
            source="ab"[place % 2],
        )
        for place in range(11)
    ]


def _builder(name: str, rows):
    sampling, mixture = SAMPLINGS[name]
    return partial(
        build_sampler,
        TypeAdapter(AnySampling).validate_python(sampling),
        TypeAdapter(AnyMixture).validate_python(mixture),
        rows,
        seed=5,
    )


def _result(place: int, rows, chance: random.Random) -> GroupResult:
    scores = tuple(float(chance.random() < (place + 1) / 12) for _ in range(4))
    return GroupResult(
        place=place,
        source=rows[place].source,
        scores_G=scores,
        accuracies_G=scores,
        advantages_G=tuple(score - 0.5 for score in scores),
        lengths_G=(5,) * 4,
    )


def _forecast(build, sampler, rows, *, ahead: int = 1, ranks: Ranks | None = None) -> Forecast:
    return Forecast(
        sampler=sampler,
        twin=build(),
        rows=rows,
        count=COUNT,
        steps=STEPS,
        ahead=ahead,
        ranks=ranks or Ranks(),
    )


def _train(name: str, rows, *, looks: bool):
    """What is taken, what was foreseen of it one step before, and all that the sampler said."""
    build, chance = _builder(name, rows), random.Random(1)
    sampler = build()
    forecast = _forecast(build, sampler, rows)
    taken, foreseen, said = [], [[]], []
    for step in range(STEPS):
        places = sampler.take(COUNT, step / STEPS)
        taken.append([rows[place].id for place in places])
        if looks:
            foreseen.append([row.id for row in forecast.after(step)])
        sampler.observe([_result(place, rows, chance) for place in places])
        said.append((sampler.metrics(), sampler.state_dict(), sampler.exhausted()))
    return taken, foreseen, said


@pytest.mark.parametrize("name", SAMPLINGS)
def test_looking_ahead_changes_nothing_that_is_taken_or_said(name, rows):
    taken, foreseen, said = _train(name, rows, looks=True)
    blind, _, heard = _train(name, rows, looks=False)
    assert taken == blind
    assert said == heard
    assert foreseen[STEPS] == []  # nothing follows the last step
    hits = [seen == found for seen, found in zip(foreseen[1:STEPS], taken[1:], strict=True)]
    assert any(hits)
    assert all(hits) == (name in EXACT)


def test_each_process_foresees_its_own_rows_of_several_steps(rows):
    build = _builder("uniform", rows)
    sampler = build()
    parts = [
        _forecast(build, sampler, rows, ahead=2, ranks=Ranks(rank=rank, count=2))
        for rank in range(2)
    ]
    sampler.take(COUNT)
    found = [[row.id for row in part.after(0)] for part in parts]
    taken = [[rows[place].id for place in sampler.take(COUNT)] for _ in range(2)]
    assert found == [[*taken[0][rank::2], *taken[1][rank::2]] for rank in range(2)]


def test_a_draw_that_goes_on_is_foreseen_too(rows):
    """Groups that a filter did not keep are drawn again, from where the sampler stands."""
    build = _builder("uniform", rows)
    sampler = build()
    forecast = _forecast(build, sampler, rows)
    sampler.take(COUNT)
    seen = {row.id for row in forecast.after(0)}
    assert {rows[place].id for place in sampler.take(2)} < seen


def test_a_forecast_that_would_end_the_run_is_none(rows):
    """A threshold that no row reaches is the sampler's error, when it gets there."""
    build = partial(
        build_sampler,
        TypeAdapter(AnySampling).validate_python({"kind": "lim", "epochs": 2, "threshold": 0.99}),
        POOLED,
        rows,
        seed=5,
    )
    sampler = build()
    forecast = _forecast(build, sampler, rows)
    sampler.take(2 * len(rows))
    assert forecast.after(0) == []


@pytest.mark.parametrize(
    ("changes", "foresees"),
    [
        ({"media": {"workers": 1}}, True),
        ({"media": {"workers": 1, "ahead": 0}}, False),
        ({}, False),
        ({"media": {"workers": 1}, "sampling": {"kind": "value"}}, False),
    ],
)
def test_nothing_is_foreseen_where_nothing_comes_of_it(changes, foresees, rows):
    stage = GrpoStage.model_validate(
        {
            "kind": "grpo",
            "model": {"family": "qwen2_vl", "tiny": "qwen2_vl"},
            "data": {"train": {"toy": {"path": "rows.jsonl"}}},
            "optim": {"steps": 2},
            "rollout": {"prompts_per_step": 2},
            "rewards": {"terms": {"accuracy": {}}},
            **changes,
        }
    )
    build = partial(build_sampler, UNIFORM, POOLED, rows, seed=1)
    forecast = build_forecast(stage, build, build(), rows, Ranks())
    assert bool(forecast.after(0)) == foresees
    texts = [dataclasses.replace(row, prompt=row.prompt[:0]) for row in rows]
    assert not build_forecast(stage, build, build(), texts, Ranks()).after(0)
