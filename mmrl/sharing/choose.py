"""Chooses what the completions of a prompt have in common, by trying it: the widest kind of sharing
that gives the log-probs of no sharing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmrl.batch import collate
from mmrl.config.schema import ModelConfig, Sharing
from mmrl.errors import ConfigError
from mmrl.media.cache import FeatureCache
from mmrl.model import Policy
from mmrl.policy import completion_logprobs
from mmrl.sharing.attention import packed_layers
from mmrl.sharing.exact import exactly
from mmrl.sharing.features import FrozenEncoders
from mmrl.types import Prompt

TOLERANCE = 1e-4
"""Largest difference of a log-prob, in float32."""

_WIDEST_FIRST: tuple[Sharing, ...] = ("packed", "encoder")


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and what was refused on the way."""

    sharing: Sharing
    refused: tuple[str, ...]
    """A reason per kind of sharing that was tried and not taken."""


def choose_sharing(policy: Policy, config: ModelConfig, prompts: Sequence[Prompt]) -> Choice:
    """Try on `prompts`, one for every mix of media, what the configuration asks for.

    Raises:
        ConfigError: a kind of sharing was asked for by name, and it does not give the log-probs of
        `none`.
    """
    if config.sharing == "none" or not prompts:
        return Choice("none", ())
    wanted = _WIDEST_FIRST if config.sharing == "auto" else (config.sharing,)
    refused: list[str] = []
    with exactly(policy) as exact:
        truth_BC = _logprobs(exact, prompts, "none")
        for sharing in wanted:
            reason = _fault(exact, config, prompts, sharing, truth_BC)
            if reason is None:
                return Choice(sharing, tuple(refused))
            refused.append(f"{sharing}: {reason}")
    if config.sharing != "auto":
        raise ConfigError(
            f"model.sharing: {refused[0]}; use model.sharing=auto, which takes what agrees"
        )
    return Choice("none", tuple(refused))


def features_fault(policy: Policy, prompts: Sequence[Prompt]) -> str:
    """Why features of frozen encoders cannot stand in for the media; empty where they can."""
    shown = [prompt for prompt in prompts if prompt.row.media]
    if not shown:
        return ""
    with exactly(policy) as exact:
        return _features_fault(exact, shown)


def _features_fault(exact: Policy, shown: Sequence[Prompt]) -> str:
    trial = FrozenEncoders(policy=exact, cache=FeatureCache(limit_mb=0), fingerprint="trial")
    truth_BC = _logprobs(exact, shown, "none")
    try:
        with exact.encoding():
            encoded = [trial(prompt) for prompt in shown]
        found_BC = _logprobs(exact, encoded, "none")
    except Exception as error:  # as above
        return f"the model does not take them ({type(error).__name__}: {_first_line(error)})"
    gap = (found_BC - truth_BC).abs().max().item()
    return "" if gap <= TOLERANCE else f"a log-prob differs by {gap:.2g}"


def _fault(
    policy: Policy,
    config: ModelConfig,
    prompts: Sequence[Prompt],
    sharing: Sharing,
    truth_BC: Tensor,
) -> str | None:
    """Why the kind of sharing cannot be used; None where it can."""
    if sharing == "packed" and policy.family.attention != "causal":
        return f"its attention is not causal only ({policy.family.attention})"
    if sharing == "packed" and config.attention != "sdpa":
        return f"it needs model.attention=sdpa, got {config.attention}"
    try:
        with packed_layers(policy.model):
            found_BC = _logprobs(policy, prompts, sharing)
    except Exception as error:  # whatever a model does not take is a reason to do without
        return f"the model does not take it ({type(error).__name__}: {_first_line(error)})"
    gap = (found_BC - truth_BC).abs().max().item()
    if not gap <= TOLERANCE:
        return f"a log-prob differs by {gap:.2g}, more than {TOLERANCE:g}"
    return None


@torch.no_grad()
def _logprobs(policy: Policy, prompts: Sequence[Prompt], sharing: Sharing) -> Tensor:
    """Log-probs of two made-up completions per prompt, of different lengths."""
    generator = torch.Generator().manual_seed(0)
    allowed = [i for i in range(policy.vocabulary) if i not in policy.banned_ids]
    pairs = [(prompt, length) for prompt in prompts for length in (5, 3)]
    draws = [
        torch.randint(len(allowed), (length,), generator=generator).tolist() for _, length in pairs
    ]
    batch = collate(
        [prompt for prompt, _ in pairs],
        [[allowed[place] for place in draw] for draw in draws],
        sharing=sharing,
        pad_id=policy.pad_id,
        device=policy.device,
    )
    return completion_logprobs(policy, batch)[0]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:200]
