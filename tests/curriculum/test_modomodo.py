"""MoDoMoDo's heuristics and surface against the numbers of its Table 2."""

from __future__ import annotations

import numpy as np
import pytest

from mmrl.curriculum.modomodo import (
    Proxy,
    alpha_weights,
    coli_weights,
    heuristic,
    mean_score,
    norm_weights,
    seed_mixtures,
)
from mmrl.curriculum.surrogate import Surface, fit_surface, propose

SOURCES = ("coco", "lisa", "geoqav", "sat", "scienceqa")
OUT = (0.4589, 0.4219, 0.4753, 0.4915, 0.4263, 0.5146, 0.4783, 0.4889, 0.4721, 0.4930, 0.4609)


@pytest.fixture
def proxies() -> list[Proxy]:
    """The eleven seeds with their published out-of-domain scores."""
    seeds = seed_mixtures(SOURCES)
    return [
        Proxy(name=name, weights=weights, in_score=0.5, out_score=score)
        for (name, weights), score in zip(seeds.items(), OUT, strict=True)
    ]


def weights_of(found: dict[str, float]) -> list[float]:
    assert [*found] == [*SOURCES]
    assert sum(found.values()) == pytest.approx(1)
    return [*found.values()]


def test_the_seeds_are_each_source_alone_all_but_one_and_all():
    seeds = seed_mixtures(SOURCES)
    assert len(seeds) == 11
    assert seeds["only_sat"] == {**dict.fromkeys(SOURCES, 0.0), "sat": 1.0}
    assert seeds["without_sat"] == {**dict.fromkeys(SOURCES, 0.25), "sat": 0.0}
    assert seeds["all"] == dict.fromkeys(SOURCES, 0.2)
    assert [*seed_mixtures(["a", "b"])] == ["only_a", "only_b", "all"]


def test_a_score_weighs_as_many_rows_as_it_was_measured_on():
    scores = {"chartqa": 0.4816, "infovqa": 0.4681, "mathvista": 0.4350, "mmmu": 0.4100}
    counts = {"chartqa": 2500, "infovqa": 2801, "mathvista": 1000, "mmmu": 900}
    assert mean_score(scores, counts) == pytest.approx(0.4609, abs=5e-5)


def test_norm_gives_the_published_weights(proxies):
    expected = [0.125517, 0.232723, 0.201418, 0.251034, 0.189309]
    assert weights_of(norm_weights(proxies)) == pytest.approx(expected, abs=1e-6)


def test_alpha_out_gives_the_published_weights(proxies):
    expected = [0.068536, 0.064174, 0.330841, 0.536449, 0.0]
    assert weights_of(heuristic("aout", proxies)) == pytest.approx(expected, abs=1e-6)


def test_alpha_mixes_in_domain_and_out_of_domain_scores():
    inside = [0.262593, 0.280990, 0.0, 0.013579, 0.442838]
    outside = [0.068536, 0.064174, 0.330841, 0.536449, 0.0]
    singles = [*seed_mixtures(SOURCES).items()][:5]
    alone = [
        Proxy(name=name, weights=weights, in_score=one, out_score=other)
        for (name, weights), one, other in zip(singles, inside, outside, strict=True)
    ]
    assert weights_of(heuristic("ain", alone)) == pytest.approx(inside, abs=1e-6)
    expected = [0.174839, 0.182945, 0.149608, 0.250023, 0.242585]
    assert weights_of(heuristic("abal", alone)) == pytest.approx(expected, abs=1e-5)


def test_proxies_with_one_source_may_count_less(proxies):
    less = alpha_weights(proxies, alpha=0.0, alpha_single=0.0)
    by_hand = {
        source: sum(p.out_score for p in proxies[5:] if source in p.used) for source in SOURCES
    }
    low, high = min(by_hand.values()), max(by_hand.values())
    scaled = {source: (value - low) / (high - low) for source, value in by_hand.items()}
    total = sum(scaled.values())
    assert less == pytest.approx({source: value / total for source, value in scaled.items()})


def test_coli_gives_the_published_weights(proxies):
    expected = [0.183851, 0.183315, 0.216072, 0.241329, 0.175432]
    assert weights_of(coli_weights(proxies)) == pytest.approx(expected, abs=1e-6)


def test_norm_says_which_proxy_is_missing(proxies):
    with pytest.raises(ValueError, match="leaves out only sat"):
        norm_weights([proxy for proxy in proxies if proxy.name != "without_sat"])


def test_the_surface_is_constant_linear_and_quadratic():
    surface = Surface(
        sources=("a", "b"),
        constant=0.3,
        linear_S=np.array([0.1, 0.2]),
        quadratic_SS=np.array([[-0.1, 0.05], [0.05, -0.2]]),
    )
    assert surface.predict({"a": 0.5, "b": 0.5}) == pytest.approx(0.40)


def test_a_quadratic_truth_is_found_again_and_its_best_mixture_proposed():
    rng = np.random.default_rng(3)
    mixtures = [
        dict(zip("abc", map(float, weights), strict=True))
        for weights in rng.dirichlet([1, 1, 1], size=60)
    ]

    def truth(weights: dict[str, float]) -> float:
        a, b, c = weights["a"], weights["b"], weights["c"]
        return 0.4 + 0.3 * a + 0.2 * b - 0.5 * a * a - 0.2 * c * c + 0.1 * a * b

    surface = fit_surface(mixtures, [truth(weights) for weights in mixtures])
    assert surface.r_squared == pytest.approx(1)
    assert len(surface.tested) == 12
    unseen = {"a": 0.2, "b": 0.5, "c": 0.3}
    assert surface.predict(unseen) == pytest.approx(truth(unseen), abs=1e-9)
    best = max(
        truth({"a": a / 50, "b": b / 50, "c": 1 - (a + b) / 50})
        for a in range(51)
        for b in range(51 - a)
    )
    proposed = propose(surface, mixtures, count=5)
    assert [score for _, score in proposed] == sorted((s for _, s in proposed), reverse=True)
    for weights, score in proposed:
        assert sum(weights.values()) == pytest.approx(1)
        assert min(weights.values()) >= 0
        assert truth(weights) == pytest.approx(score, abs=1e-9)
    assert proposed[0][1] == pytest.approx(best, abs=0.003)


def test_a_surface_needs_five_mixtures(proxies):
    with pytest.raises(ValueError, match="five measured mixtures or more, there are 4"):
        fit_surface([proxy.weights for proxy in proxies[:4]], OUT[:4])
