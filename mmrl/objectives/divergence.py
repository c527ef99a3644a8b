"""Estimates of the divergence KL(policy || reference) from the log-probs of sampled tokens
(Schulman, "Approximating KL divergence").

With d = policy - reference, in log-probs:
`k1`  d: unbiased, of either sign; its own gradient is zero on average, so as a loss it needs the
      probability ratio before it
`k2`  d^2 / 2: its gradient is that of the divergence where the policy sampled the tokens itself
`k3`  exp(-d) - 1 + d: unbiased and never negative; the usual one
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Estimator = Literal["k1", "k2", "k3"]


def estimate_kl(
    name: Estimator, logprobs: Tensor, reference_logprobs: Tensor, *, clamp: float | None = None
) -> Tensor:
    """The estimate per token, of the shape of the log-probs.

    `clamp` bounds the difference of the log-probs on both sides (10 in Video-R1, arXiv 2503.21776),
    so that one token that the reference finds impossible does not fill the loss.
    """
    difference = logprobs - reference_logprobs
    if clamp is not None:
        difference = difference.clamp(-clamp, clamp)
    if name == "k1":
        return difference
    if name == "k2":
        return difference.square() / 2
    return (-difference).exp() - 1 + difference
