"""One optimizer step on reinforcement and imitation together: (1 - w) RL + w SFT, with w fixed or
adapting (AMFT, arXiv 2508.06944). What is imitated are the gold responses of the step's own rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmrl.config.algo import AlgoConfig, ImitationConfig
from mmrl.model import Policy, trainable_parameters
from mmrl.objectives.imitation import ImitationWeight, imitation_gain
from mmrl.scoring import Scoring
from mmrl.types import Prompt, Row
from mmrl.update import Minibatch, backward, backward_responses

Gradients = list[Tensor | None]


def build_weight(config: ImitationConfig | None) -> ImitationWeight | None:
    """The weight of imitation at the start of a stage; None where nothing is imitated."""
    if config is None:
        return None
    if config.adapt is None:
        return ImitationWeight(weight=config.weight, gain_rate=0.0, entropy_rate=0.0, low=0, high=1)
    return ImitationWeight(
        weight=config.weight,
        target_entropy=config.adapt.target_entropy,
        gain_rate=config.adapt.gain_rate,
        entropy_rate=config.adapt.entropy_rate,
        low=config.adapt.low,
        high=config.adapt.high,
    )


def backward_mixed(
    policy: Policy,
    minibatch: Minibatch,
    algo: AlgoConfig,
    scoring: Scoring,
    *,
    mix: ImitationWeight | None,
    validation: Sequence[Prompt] = (),
    lr: float = 0.0,
) -> dict[str, float]:
    """Add the gradient of both losses, move the weight, and return what goes with it.

    With prompts for validation, what imitation does for their responses is measured: one more pass,
    and three gradients at a time.
    """
    if mix is None:
        return backward(policy, minibatch, algo, scoring)
    weight, gain = mix.weight, 0.0
    if not validation:
        losses = backward(policy, minibatch, algo, scoring, weight=1 - weight)
        loss = _imitate(policy, minibatch.prompts, scoring, weight=weight)
    else:
        losses = backward(policy, minibatch, algo, scoring)
        reinforcement = _take(policy)
        loss = _imitate(policy, minibatch.prompts, scoring)
        imitation = _take(policy)
        _imitate(policy, validation, scoring)
        flat = [_flat(policy, part) for part in (_take(policy), imitation, reinforcement)]
        ranks = policy.strategy.ranks
        flat = [ranks.add_up(part, "gradients: measuring imitation") for part in flat]
        gain = imitation_gain(*flat, lr=lr)
        _put(policy, imitation, reinforcement, weight=weight)
    mix.update(entropy=losses.get("policy/entropy"), gain=gain)
    found = {"imitation/loss": loss, "imitation/weight": weight}
    return losses | found | ({"imitation/gain": gain} if validation else {})


def response_ids(policy: Policy, row: Row) -> list[int]:
    """The tokens of a row's gold response, with the token that ends it."""
    tokenizer = policy.processor.tokenizer
    return [*tokenizer(row.response, add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def _imitate(
    policy: Policy, prompts: Sequence[Prompt], scoring: Scoring, *, weight: float = 1.0
) -> float:
    responses = [response_ids(policy, prompt.row) for prompt in prompts]
    # a prompt that another process holds has no tokens here
    own = [place for place, prompt in enumerate(prompts) if prompt.ids]
    return backward_responses(
        policy,
        [prompts[place] for place in own],
        [responses[place] for place in own],
        scoring,
        weight=weight,
        tokens=sum(map(len, responses)),
    )


def _take(policy: Policy) -> Gradients:
    """The gradients, which are then forgotten; None where there was none."""
    parameters = trainable_parameters(policy.model).values()
    found = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return found


def _put(policy: Policy, imitation: Gradients, reinforcement: Gradients, *, weight: float) -> None:
    parameters = trainable_parameters(policy.model).values()
    for parameter, one, other in zip(parameters, imitation, reinforcement, strict=True):
        parts = [(weight, one), (1 - weight, other)]
        given = [share * part for share, part in parts if part is not None]
        parameter.grad = sum(given[1:], given[0]) if given else None


def _flat(policy: Policy, gradients: Gradients) -> Tensor:
    parameters = trainable_parameters(policy.model).values()
    return torch.cat(
        [
            torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten()
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
    )
