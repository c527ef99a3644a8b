"""Moves the reference of the KL term to where the policy is, so that a long run is not held back to
where it began (ProRL, arXiv 2505.24864).
"""

from __future__ import annotations

from pathlib import Path

import torch

from mmrl.model import Policy, trainable_parameters

FILE = "reference.safetensors"


@torch.no_grad()
def reset_reference(reference: Policy, policy: Policy) -> None:
    """Copy the weights that learn into the reference; the others never differed."""
    own = dict(reference.model.named_parameters())
    for name, parameter in trainable_parameters(policy.model).items():
        own[name].copy_(parameter)


def save_reference(folder: Path, reference: Policy, policy: Policy) -> None:
    """Write the weights in which the reference may differ from what the stage began with."""
    from safetensors.torch import save_file

    own = dict(reference.model.named_parameters())
    names = trainable_parameters(policy.model)
    save_file({name: own[name].detach().cpu().contiguous() for name in names}, folder / FILE)


@torch.no_grad()
def load_reference(folder: Path, reference: Policy) -> None:
    """Take the weights that `save_reference` wrote to a checkpoint's folder, if it did."""
    from safetensors.torch import load_file

    if not (folder / FILE).is_file():
        return
    own = dict(reference.model.named_parameters())
    for name, weights in load_file(folder / FILE).items():
        own[name].copy_(weights)
