"""Encoder features that are kept: where encoders are frozen, a prompt's media go through them once
in a run, and every later pass is given what came out.

Features are what the decoder finds at a prompt's media tokens, so one rule serves every family:
they are taken at the decoder's door, and put back there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmrl.families import media_token_ids

if TYPE_CHECKING:
    from mmrl.media.cache import FeatureCache
    from mmrl.model import Policy
    from mmrl.types import Prompt


@dataclass(kw_only=True, slots=True)
class FrozenEncoders:
    """Gives prompts their features."""

    policy: Policy
    cache: FeatureCache
    fingerprint: str
    """Of the encoders' weights and of what else shapes features besides the media."""

    def __call__(self, prompt: Prompt) -> Prompt:
        """The prompt with `features`, computed now or before."""
        if not prompt.row.media or prompt.features:
            return prompt
        key = f"{prompt.media_key}-{self.fingerprint}"
        features = self.cache.get(key)
        if features is None:
            features = encode(self.policy, prompt)
            self.cache.put(key, features)
        return replace(prompt, features=features)


def learns_to_encode(model: Any) -> bool:
    """Whether anything before the decoder learns, the embedding of tokens aside."""
    return any(parameter.requires_grad for _, parameter in encoder_parameters(model))


def encoder_parameters(model: Any) -> Iterator[tuple[str, Tensor]]:
    """The parameters that shape features, by name."""
    later = (model.get_decoder(), model.get_output_embeddings(), model.get_input_embeddings())
    known = {id(parameter) for module in later for parameter in module.parameters()}
    return (
        (name, parameter)
        for name, parameter in model.named_parameters()
        if id(parameter) not in known
    )


class _AtTheDoorError(Exception):
    """Ends a forward pass before the decoder, with what it would have been given."""

    def __init__(self, kwargs: dict[str, Any]) -> None:
        self.kwargs = kwargs


@torch.no_grad()
def encode(policy: Policy, prompt: Prompt) -> dict[str, Tensor]:
    """Features of a prompt: `tokens` [N, D], and `deep0`, `deep1`, ... [N, D] where the family adds
    inner features to its decoder.
    """
    ids_1T = torch.tensor([prompt.ids], device=policy.device)
    positions = prompt.positions_RT[:, None].to(policy.device)

    def stop(_: Any, __: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _AtTheDoorError(kwargs)

    handle = policy.model.get_decoder().register_forward_pre_hook(stop, with_kwargs=True)
    try:
        policy(
            input_ids=ids_1T,
            attention_mask=torch.ones_like(ids_1T),
            position_ids=positions if len(positions) > 1 else positions[0],
            use_cache=False,
            **{key: value.to(policy.device) for key, value in prompt.media.items()},
        )
    except _AtTheDoorError as door:
        given = door.kwargs
    else:
        raise RuntimeError("the model ran without calling its decoder")
    finally:
        handle.remove()
    places_T = media_places(policy, ids_1T)[0]
    deep = given.get("deepstack_visual_embeds") or ()
    return {"tokens": given["inputs_embeds"][0, places_T]} | {
        f"deep{number}": layer for number, layer in enumerate(deep)
    }


def media_places(policy: Policy, ids_NT: Tensor) -> Tensor:
    """Where media tokens stand [N, T]."""
    banned = torch.tensor(media_token_ids(policy.model), device=ids_NT.device)
    return torch.isin(ids_NT, banned)


def join_features(
    features: Sequence[Mapping[str, Tensor]], device: torch.device | str
) -> dict[str, Tensor]:
    """Features of several prompts, one behind the other."""
    keys = {key: None for item in features for key in item}
    return {key: torch.cat([item[key] for item in features]).to(device) for key in keys}


@contextmanager
def features_given(
    policy: Policy, ids_NT: Tensor, features: Mapping[str, Tensor]
) -> Iterator[None]:
    """While inside, the decoder finds the features at the media tokens of its rows."""
    if not features:
        yield
        return
    places_NT = media_places(policy, ids_NT)

    def insert(_: Any, arguments: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        embeds_NTD = kwargs["inputs_embeds"]
        tokens = features["tokens"].to(embeds_NTD.dtype)
        changed: dict[str, Any] = {
            "inputs_embeds": embeds_NTD.masked_scatter(places_NT[..., None], tokens)
        }
        deep = [features[key] for key in sorted(features) if key.startswith("deep")]
        if deep:
            changed |= {"visual_pos_masks": places_NT, "deepstack_visual_embeds": deep}
        return arguments, kwargs | changed

    handle = policy.model.get_decoder().register_forward_pre_hook(insert, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
