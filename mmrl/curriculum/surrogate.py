"""Predicts the score of a mixture before it is trained on, and proposes the next one.

MoDoMoDo's model-based strategy (arXiv 2505.24871, Algorithm 4): a quadratic surface
`L(w) = a + b.w + w'Cw` is fitted to the measured mixtures by least squares, on 80 % of them, five
times; the fit that predicts the rest best is kept. Candidates are drawn from a Gaussian around the
measured mixtures, and those with the highest predictions are proposed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SPLITS = 5
TEST_SHARE = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Surface:
    """A quadratic function of the weights of sources."""

    sources: tuple[str, ...]
    constant: float
    linear_S: np.ndarray
    quadratic_SS: np.ndarray
    r_squared: float = float("nan")
    """On the mixtures that the fit did not see; 1 is exact, 0 is as good as their mean."""
    tested: tuple[int, ...] = ()
    """Which of the mixtures those were."""

    def predict(self, weights: Mapping[str, float]) -> float:
        """Return the score that a mixture is expected to get."""
        weights_S = np.array([weights[source] for source in self.sources])
        return float(
            self.constant + self.linear_S @ weights_S + weights_S @ self.quadratic_SS @ weights_S
        )


def fit_surface(
    mixtures: Sequence[Mapping[str, float]], scores: Sequence[float], *, seed: int = 0
) -> Surface:
    """Fit a surface to measured mixtures.

    Args:
        mixtures: Weights of the same sources, in the same order, which sum to 1.
        scores: Of each mixture.
        seed: Of the splits.

    Raises:
        ValueError: there are fewer than five mixtures.
    """
    if len(mixtures) < 5:
        raise ValueError(
            f"a surface needs five measured mixtures or more, there are {len(mixtures)}"
        )
    sources = tuple(mixtures[0])
    weights_NS = np.array([[mixture[source] for source in sources] for mixture in mixtures])
    scores_N = np.array(scores)
    rng = np.random.default_rng(seed)
    fits = []
    for _ in range(SPLITS):
        order = rng.permutation(len(mixtures))
        cut = max(2, round(TEST_SHARE * len(mixtures)))
        test, train = order[:cut], order[cut:]
        fits.append(_fit(sources, weights_NS, scores_N, train, test))
    return max(fits, key=lambda surface: surface.r_squared)


def propose(
    surface: Surface,
    mixtures: Sequence[Mapping[str, float]],
    *,
    count: int = 10,
    candidates: int = 10_000,
    seed: int = 0,
) -> list[tuple[dict[str, float], float]]:
    """Return the candidates with the highest predictions, best first, each with its prediction.

    Args:
        surface: That was fitted to the mixtures.
        mixtures: That were measured; candidates are drawn around them.
        count: How many to return.
        candidates: How many to draw; those with a negative weight are dropped.
        seed: Of the draws.
    """
    weights_NS = np.array([[mixture[source] for source in surface.sources] for mixture in mixtures])
    mean_S = weights_NS.mean(axis=0)
    # a mixture model's own regularisation; weights that sum to 1 have a singular covariance
    spread_SS = np.cov(weights_NS.T, ddof=0) + 1e-6 * np.eye(len(mean_S))
    drawn_KS = np.random.default_rng(seed).multivariate_normal(mean_S, spread_SS, size=candidates)
    drawn_KS = drawn_KS[(drawn_KS >= 0).all(axis=1)]
    found = [
        dict(zip(surface.sources, (row_S / row_S.sum()).tolist(), strict=True))
        for row_S in drawn_KS
    ]
    rated = [(mixture, surface.predict(mixture)) for mixture in found]
    return sorted(rated, key=lambda pair: -pair[1])[:count]


def _fit(
    sources: tuple[str, ...],
    weights_NS: np.ndarray,
    scores_N: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
) -> Surface:
    solution, *_ = np.linalg.lstsq(_design(weights_NS[train]), scores_N[train], rcond=None)
    size = len(sources)
    predicted = _design(weights_NS[test]) @ solution
    left = float(((scores_N[test] - predicted) ** 2).sum())
    spread = float(((scores_N[test] - scores_N[test].mean()) ** 2).sum())
    return Surface(
        sources=sources,
        constant=float(solution[0]),
        linear_S=solution[1 : 1 + size],
        quadratic_SS=solution[1 + size :].reshape(size, size),
        # scores that agree have no spread to explain: the worst of fits, and still a number
        r_squared=1 - left / max(spread, 1e-12),
        tested=tuple(sorted(test.tolist())),
    )


def _design(weights_NS: np.ndarray) -> np.ndarray:
    """The columns of the regression: 1, each weight, and each product of two weights."""
    products_NSS = weights_NS[:, :, None] * weights_NS[:, None, :]
    return np.concatenate(
        [np.ones((len(weights_NS), 1)), weights_NS, products_NSS.reshape(len(weights_NS), -1)],
        axis=1,
    )
