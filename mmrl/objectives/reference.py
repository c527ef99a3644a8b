"""Moves the reference of the KL term to where the policy is, so that a long run is not held back to
where it began (ProRL, arXiv 2505.24864).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mmrl.model import Policy, trainable_parameters

FILE = "reference.safetensors"


def reset_reference(reference: Policy, policy: Policy) -> None:
    """Copy the weights that learn into the reference; the others never differed."""
    own = dict(reference.model.named_parameters())
    names = trainable_parameters(policy.model)
    for name, whole in policy.strategy.each_whole(policy.model, names):
        reference.strategy.put(own[name], whole)


def reference_weights(reference: Policy, policy: Policy) -> dict[str, Tensor]:
    """The weights in which the reference may differ from what the stage began with, on the CPU of
    the process that leads.
    """
    names = trainable_parameters(policy.model)
    leads = policy.strategy.ranks.leads
    return {
        name: whole.cpu().clone()
        for name, whole in reference.strategy.each_whole(reference.model, names)
        if leads
    }


def save_reference(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Write what `reference_weights` gave."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / FILE)


def load_reference(folder: Path, reference: Policy) -> None:
    """Take the weights that `save_reference` wrote to a checkpoint's folder, if it did."""
    from safetensors.torch import load_file

    if not (folder / FILE).is_file():
        return
    own = dict(reference.model.named_parameters())
    for name, weights in load_file(folder / FILE).items():
        reference.strategy.put(own[name], weights)
