"""Data mixtures by design, as MoDoMoDo does it (arXiv 2505.24871): train proxies on seed mixtures,
then weigh the sources by a heuristic over the proxies' scores.

`alpha`  sum each source's scores over the proxies that used it, in-domain and out-of-domain;
         min-max each over sources; mix the two by alpha
`coli`   ridge regression of the out-of-domain score on which sources were used; each coefficient
         over its variance inflation, where positive
`norm`   of the proxies that left one source out: the better the score, the less that source weighs,
         0.2 - 0.1 * (score, min-maxed)

The third way, a quadratic surface over mixtures, is in `mmrl.curriculum.surrogate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmrl.curriculum.mixture import normalised

HEURISTICS = ("ain", "aout", "abal", "coli", "norm")
"""Alpha with alpha 1, 0 and 0.5; coli; norm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """A mixture that was trained on, and how it scored."""

    name: str
    weights: Mapping[str, float]
    """Of every source; they sum to 1."""
    in_score: float
    """On held-out rows of the sources that can be trained on."""
    out_score: float
    """On held-out rows of other tasks."""

    @property
    def used(self) -> tuple[str, ...]:
        """The sources with a weight."""
        return tuple(source for source, weight in self.weights.items() if weight > 0)


def seed_mixtures(sources: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return MoDoMoDo's seed mixtures: each source alone, all but each one, and all; uniform.

    >>> [*seed_mixtures(["a", "b", "c"])]
    ['only_a', 'only_b', 'only_c', 'without_a', 'without_b', 'without_c', 'all']
    """
    seeds = {f"only_{source}": _uniform(sources, [source]) for source in sources}
    if len(sources) > 2:
        seeds |= {
            f"without_{source}": _uniform(sources, [other for other in sources if other != source])
            for source in sources
        }
    return seeds | {"all": _uniform(sources, sources)}


def mean_score(scores: Mapping[str, float], counts: Mapping[str, int]) -> float:
    """Return the mean of tasks' scores, each weighing as many rows as it was scored on."""
    total = sum(counts[task] for task in scores)
    return sum(score * counts[task] for task, score in scores.items()) / total


def heuristic(name: str, proxies: Sequence[Proxy]) -> dict[str, float]:
    """Return the weights that one of HEURISTICS gives the sources.

    Raises:
        ValueError: the proxies are not those that it needs.
    """
    alphas = {"ain": 1.0, "aout": 0.0, "abal": 0.5}
    if name in alphas:
        return alpha_weights(proxies, alpha=alphas[name])
    return coli_weights(proxies) if name == "coli" else norm_weights(proxies)


def alpha_weights(
    proxies: Sequence[Proxy], *, alpha: float, alpha_single: float = 1.0
) -> dict[str, float]:
    """Return weights by the scores of the proxies that used each source.

    Args:
        proxies: At least one for each source.
        alpha: Weight of the in-domain scores against the out-of-domain ones, 0 to 1.
        alpha_single: What the scores of proxies with one source count, 0 to 1.

    Raises:
        ValueError: every source came to the same sums, so that none has a weight.
    """
    sources = [*proxies[0].weights]
    factors = [alpha_single if len(proxy.used) == 1 else 1.0 for proxy in proxies]
    sums = {
        source: [
            sum(factor * score for factor, proxy, score in rows if source in proxy.used)
            for rows in (
                [(f, p, p.in_score) for f, p in zip(factors, proxies, strict=True)],
                [(f, p, p.out_score) for f, p in zip(factors, proxies, strict=True)],
            )
        ]
        for source in sources
    }
    inside = _min_max([sums[source][0] for source in sources])
    outside = _min_max([sums[source][1] for source in sources])
    mixed = [alpha * one + (1 - alpha) * other for one, other in zip(inside, outside, strict=True)]
    return _weights(sources, mixed, "the scores of all sources are the same")


def coli_weights(proxies: Sequence[Proxy], *, ridge: float = 1e-3) -> dict[str, float]:
    """Return weights by what each source adds to the out-of-domain score, beside the others.

    Raises:
        ValueError: no source adds anything.
    """
    sources = [*proxies[0].weights]
    used_NS = np.array([[source in proxy.used for source in sources] for proxy in proxies], float)
    scores_N = np.array([proxy.out_score for proxy in proxies])
    inverse_SS = np.linalg.inv(used_NS.T @ used_NS + ridge * np.eye(len(sources)))
    gains_S = inverse_SS @ used_NS.T @ scores_N
    shares_S = np.maximum(0.0, gains_S / np.diag(inverse_SS))
    return _weights(sources, shares_S.tolist(), "no source adds to the score")


def norm_weights(proxies: Sequence[Proxy]) -> dict[str, float]:
    """Return weights by how the proxies scored that left one source out.

    Raises:
        ValueError: a source was never the only one left out.
    """
    sources = [*proxies[0].weights]
    scores: dict[str, float] = {}
    for proxy in proxies:
        left_out = [source for source in sources if source not in proxy.used]
        if len(left_out) == 1 and len(sources) > 2:
            scores[left_out[0]] = proxy.out_score
    missing = [source for source in sources if source not in scores]
    if missing:
        raise ValueError(f"no proxy leaves out only {', '.join(missing)}")
    scaled = _min_max([scores[source] for source in sources])
    return normalised(
        {source: 0.2 - 0.1 * share for source, share in zip(sources, scaled, strict=True)}
    )


def _uniform(sources: Sequence[str], used: Sequence[str]) -> dict[str, float]:
    return {source: 1 / len(used) if source in used else 0.0 for source in sources}


def _min_max(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]


def _weights(sources: Sequence[str], values: Sequence[float], why_not: str) -> dict[str, float]:
    if not sum(values) > 0:
        raise ValueError(why_not)
    return normalised(dict(zip(sources, values, strict=True)))
