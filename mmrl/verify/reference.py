"""Reward by how probable the reference answer is after the model's own reasoning.

After RLPR (arXiv 2506.18254). The reference stands where the generated answer stood; its score is
the mean probability of its tokens, a mean and not a product, so that one unlikely token does not
decide alone. What the answer is worth without any reasoning is taken off, and prompts whose rewards
hardly differ within the group are filtered out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from mmrl.answer import box_span, tag_span
from mmrl.types import Sample

if TYPE_CHECKING:
    from torch import Tensor

PROBABILITIES = "reference_probabilities"
"""Key of a row's extra: probabilities of the reference's tokens after this rollout's reasoning."""
BASELINE = "reference_baseline"
"""Key of a row's extra: their mean with no reasoning, by the initial policy, once per prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spliced:
    """A completion with the reference in place of its answer."""

    before: str
    reference: str
    after: str


def splice(text: str, reference: str) -> Spliced | None:
    r"""Put the reference into the last `<answer>` tag, else into the last `\boxed{}`; None without
    either.

    >>> splice("<think>x</think><answer> 5 </answer>", "7")
    Spliced(before='<think>x</think><answer>', reference='7', after='</answer>')
    """
    span = tag_span(text) or box_span(text)
    if span is None:
        return None
    return Spliced(before=text[: span[0]], reference=reference, after=text[span[1] :])


def mean_probability(probabilities: Sequence[float]) -> float:
    """Return the mean, of at least one number from 0 to 1.

    Raises:
        ValueError: there is none, or one is no probability.

    >>> round(mean_probability([0.9, 0.8, 0.1]), 9)
    0.6
    """
    if not probabilities:
        raise ValueError("the reference has no tokens")
    if not all(0 <= value <= 1 for value in probabilities):
        raise ValueError("a probability is not between 0 and 1")
    return fmean(probabilities)


def debiased(probability: float, baseline: float) -> float:
    """Return what reasoning adds to the probability, at least 0.

    >>> round(debiased(0.6, 0.25), 9), debiased(0.6, 0.7)
    (0.35, 0.0)
    """
    return max(0.0, probability - baseline)


def repeats_itself(text: str, *, window: int = 10, times: int = 10) -> bool:
    """Tell whether some run of `window` words occurs `times` times; words end at white space and
    `_`."""
    words = text.replace("_", " ").split()
    counts: dict[tuple[str, ...], int] = {}
    if len(words) <= window:
        return False
    for start in range(len(words) - window + 1):
        run = tuple(words[start : start + window])
        counts[run] = counts.get(run, 0) + 1
        if counts[run] >= times:
            return True
    return False


@dataclass(kw_only=True, slots=True)
class SpreadFilter:
    """Keeps the prompts whose rewards spread at least `beta` times as wide as they lately did on
    average.

    Steps count from 1. The average begins as the mean of the steps from `collect_from` to before
    `filter_from`; from then on every step moves it by 1 - `decay` before it decides.
    """

    beta: float = 0.5
    decay: float = 0.99
    collect_from: int = 6
    filter_from: int = 11
    average: float | None = None
    collected: list[float] = field(default_factory=list)

    def keep(self, rewards_PG: Sequence[Sequence[float]], step: int) -> list[bool]:
        """Say for each prompt of the step, with the rewards of its group, whether it stays.

        All prompts that were sampled belong in the call, the ones that will not stay included.
        """
        spreads = [_deviation(rewards) for rewards in rewards_PG]
        if step < self.collect_from or not spreads:
            return [True] * len(spreads)
        if step < self.filter_from:
            self.collected.append(fmean(spreads))
            return [True] * len(spreads)
        if self.average is None:
            self.average = fmean(self.collected) if self.collected else fmean(spreads)
        self.average = self.decay * self.average + (1 - self.decay) * fmean(spreads)
        return [spread >= self.beta * self.average for spread in spreads]

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run has to know."""
        return {"average": self.average, "collected": list(self.collected)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.average, self.collected = state["average"], list(state["collected"])


def token_probabilities(
    model: Any, ids_T: Sequence[int], start: int, end: int, **media: Tensor
) -> list[float]:
    """Return the probability of each token from `start` to before `end`, given all tokens before
    it.

    Args:
        model: A causal model of transformers, in evaluation mode.
        ids_T: Prompt, reasoning, reference and what follows.
        start: Where the reference begins; at least 1.
        end: Where it ends.
        media: The processor's further tensors for the forward.
    """
    import torch

    if not 1 <= start < end <= len(ids_T):
        raise ValueError(
            f"tokens {start} to {end} are no part of {len(ids_T)} tokens after the first"
        )
    ids = torch.tensor([list(ids_T)], device=model.device)
    with torch.inference_mode():
        logits_TV = model(input_ids=ids, **media).logits[0, start - 1 : end - 1].float()
    chosen = logits_TV.log_softmax(-1).gather(-1, ids[0, start:end, None])[:, 0]
    return chosen.exp().clamp(max=1.0).tolist()


def reference_probabilities(
    model: Any, tokenizer: Any, prompt_ids: Sequence[int], spliced: Spliced, **media: Tensor
) -> list[float]:
    """Return the probabilities of the reference's tokens after the prompt and the reasoning.

    The pieces are tokenized one by one, so that the reference's tokens are its own.
    """
    before, reference = (
        tokenizer.encode(piece, add_special_tokens=False)
        for piece in (spliced.before, spliced.reference)
    )
    ids = [*prompt_ids, *before, *reference]
    return token_probabilities(model, ids, len(ids) - len(reference), len(ids), **media)


def with_reference(
    sample: Sample, probabilities: Sequence[float], baseline: float | None = None
) -> Sample:
    """Return the sample with the numbers where the verifier `reference_probability` reads them."""
    extra = {**sample.row.extra, PROBABILITIES: list(probabilities)}
    if baseline is not None:
        extra[BASELINE] = baseline
    return dataclasses.replace(sample, row=dataclasses.replace(sample.row, extra=extra))


def _deviation(rewards: Sequence[float]) -> float:
    """Return the standard deviation with Bessel's correction, 0 for a single reward."""
    if len(rewards) < 2:
        return 0.0
    mean = fmean(rewards)
    return math.sqrt(sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1))
