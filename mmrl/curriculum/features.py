"""What samplers ask of the policy about a prompt: its hidden states, from one forward pass without
gradient.

`value_features`  after the prompt's last token, as they enter the head   PCL, arXiv 2510.01135
`angle_signals`   of all tokens, as they enter the last layer's MLP       GAIN-RL, arXiv 2506.02281
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from mmrl.batch import collate_prompts
from mmrl.difficulty import angle_signal
from mmrl.errors import ConfigError
from mmrl.model import Policy
from mmrl.prompt import Prompts
from mmrl.types import Prompt, Row

T = TypeVar("T")

_LAST_MLP = re.compile(r"(?:^|\.)layers\.(\d+)\.mlp\.up_proj$")


def value_features(
    policy: Policy, prompts: Prompts, rows: Sequence[Row], places: Sequence[int]
) -> list[list[float]]:
    """Return the state [D] after each prompt, divided by its root mean square."""
    prompts.look_ahead([rows[place] for place in policy.strategy.ranks.own(places)])

    def measure(place: int) -> list[float]:
        state_D = token_states(policy, prompts(rows[place]), _head(policy))[-1]
        scale = state_D.square().mean().sqrt().clamp_min(1e-6)
        # times D to the power -1/2: the states have length 1 whatever their size
        return (state_D / scale / len(state_D) ** 0.5).tolist()

    return _shared_out(policy, measure, places)


def angle_signals(
    policy: Policy, prompts: Prompts, rows: Sequence[Row], places: Sequence[int]
) -> list[float]:
    """Return the angle signal of each prompt; no tokens count as shared by all rows."""
    prompts.look_ahead([rows[place] for place in policy.strategy.ranks.own(places)])
    module = last_mlp(policy)

    def measure(place: int) -> float:
        return angle_signal(token_states(policy, prompts(rows[place]), module).numpy()).total

    return _shared_out(policy, measure, places)


def _shared_out(policy: Policy, measure: Callable[[int], T], places: Sequence[int]) -> list[T]:
    """Measure every n-th row, and hear of the others what other processes measured: so all go by
    the same numbers to the last bit, whatever they run on.
    """
    ranks = policy.strategy.ranks
    with policy.whole():
        own = [measure(place) for place in ranks.own(places)]
    return ranks.merge(own, "rows: measuring")


def token_states(policy: Policy, prompt: Prompt, module: Any) -> Tensor:
    """What enters a module, [T, D] in float32, for one prompt."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    batch = collate_prompts([prompt], pad_id=policy.pad_id, device=policy.device)
    try:
        with torch.no_grad():
            policy(
                input_ids=batch.ids_PT,
                attention_mask=batch.mask_PT,
                position_ids=batch.positions_RPT
                if len(batch.positions_RPT) > 1
                else batch.positions_RPT[0],
                use_cache=False,
                **batch.media,
            )
    finally:
        handle.remove()
    return seen[-1][0].float().cpu()


def last_mlp(policy: Policy) -> Any:
    """The language model's last layer; vision towers call theirs blocks."""
    named: list[tuple[int, Callable[..., Any]]] = [
        (int(found[1]), module)
        for name, module in policy.model.named_modules()
        if (found := _LAST_MLP.search(name)) and "visual" not in name and "audio" not in name
    ]
    if not named:
        raise ConfigError(
            "the angle signal needs a model whose layers have 'mlp.up_proj', and this one has none"
        )
    return max(named, key=lambda item: item[0])[1]


def _head(policy: Policy) -> Any:
    return policy.model.get_output_embeddings()
