"""Sets a stage up to share what it can: chooses, says what was refused, and prepares the models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mmrl.config.schema import MediaConfig, ModelConfig, Sharing
from mmrl.media.cache import DiskCache, FeatureCache, hash_weights
from mmrl.model import Policy
from mmrl.prompt import Prompts
from mmrl.sharing.attention import use_packed_attention
from mmrl.sharing.choose import choose_sharing, features_fault
from mmrl.sharing.features import FrozenEncoders, encoder_parameters, learns_to_encode
from mmrl.types import MediaKind, Prompt, Row


def set_up_sharing(
    policies: Sequence[Policy],
    model: ModelConfig,
    rows: Sequence[Row],
    prompts: Prompts,
    *,
    chosen: Sharing | None,
    warn: Callable[[str], None],
) -> Sharing:
    """What the completions of a group will have in common, for the policy and its reference.

    It is tried on the first row of every mix of media, unless it was `chosen` when the stage began.
    Where the encoders are frozen, `prompts` carry their features from now on.
    """
    policy = policies[0]
    prompts.encoders = None
    first = _mixes(rows)
    prompts.look_ahead(first)
    trial = [prompts(row) for row in first]
    if chosen is None:
        choice = choose_sharing(policy, model, trial)
        chosen = choice.sharing
        for reason in choice.refused:
            warn(f"mmrl: warning: model.sharing is {chosen}, not {reason}")
    if chosen == "packed":
        for each in policies:
            use_packed_attention(each.model)
    if not learns_to_encode(policy.model):
        fault = features_fault(policy, trial)
        if fault:
            warn(f"mmrl: warning: features of the frozen encoders are not kept: {fault}")
        else:
            prompts.encoders = _frozen(policy, prompts.media, warn)
    return chosen


def _mixes(rows: Sequence[Row]) -> list[Row]:
    """The first row of every mix of media."""
    mixes: dict[frozenset[MediaKind], Row] = {}
    for row in rows:
        mixes.setdefault(frozenset(medium.kind for medium in row.media), row)
    return list(mixes.values())


def _frozen(
    policy: Policy, media: MediaConfig, warn: Callable[[str], None]
) -> Callable[[Prompt], Prompt]:
    disk, fingerprint = None, "0"
    if media.cache_dir is not None:
        disk = DiskCache(folder=media.cache_dir, limit_mb=media.disk_cache_mb, warn=warn)
        names = [name for name, _ in encoder_parameters(policy.model)]
        weights = hash_weights(policy.strategy.each_whole(policy.model, names))
        fingerprint = f"{weights}{'b' if policy.dtype.itemsize == 2 else 'f'}"
    cache = FeatureCache(limit_mb=media.cache_mb, disk=disk)
    return FrozenEncoders(policy=policy, cache=cache, fingerprint=fingerprint)
