"""One of two processes that train adapters on a base in bfloat16, beside the same in one process:
writes down how far they are apart, and what a gradient that is not finite changes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from mmrl.config.launch import LaunchConfig
from mmrl.config.schema import ModelConfig, OptimConfig
from mmrl.distributed.connect import connected
from mmrl.distributed.spread import is_shared_out, spread
from mmrl.lora import is_adapter_weight
from mmrl.model import load_policy
from mmrl.sharing.exact import exactly
from mmrl.update import Optimizer
from mmrl.weights import whole_weights

IDS = torch.arange(100, 124)[None]


def main(strategy: str, out: Path) -> None:
    family = {"family": "qwen2_5_vl", "tiny": "qwen2_5_vl", "device": "cpu", "threads": 1}
    lora = {"rank": 4, "targets": "all"}
    config = ModelConfig.model_validate(family | {"dtype": "bfloat16", "lora": lora})
    launch = LaunchConfig.model_validate(
        {"processes": 2, "strategy": strategy, "backend": "gloo", "timeout_s": 60}
    )
    optim = OptimConfig.model_validate({"lr": 1e-3, "steps": 3})
    with connected(launch, out) as ranks:
        alone = load_policy(config, seed=0)
        began = {name: p.detach().clone() for name, p in alone.model.named_parameters()}
        policy = load_policy(config, seed=0, empty=is_shared_out(launch))
        policy = spread(
            policy,
            launch,
            ranks,
            load=lambda: load_policy(config, seed=0),
            device=torch.device("cpu"),
        )
        pair = [(one, Optimizer(config=optim, policy=one)) for one in (alone, policy)]
        norms = [[_learn(*one, step) for one in pair] for step in range(3)]
        with torch.no_grad():
            exact = [_exact(one) for one in (alone, policy)]
            ours, theirs = (dict(whole_weights(one)) for one in (alone, policy))
            whole = {name: float((ours[name] - theirs[name]).abs().max()) for name in ours}
        saved = _state(policy, pair[1][1])
        base = [name for name in began if not is_adapter_weight(name)]
        found = {
            "norms": norms,
            "exact": float((exact[0] - exact[1]).abs().max()),
            "whole": max(whole.values()),
            "base": all(torch.equal(saved[name], began[name]) for name in base if name in saved),
            "saved": len(saved),
            "apart": _adapter_alone(policy, saved),
            "said": _learn_nonsense(policy, pair[1][1], ranks.rank),
        }
        after = _state(policy, pair[1][1])
        found["kept"] = after.keys() == saved.keys() and all(
            torch.equal(after[name], saved[name]) for name in saved
        )
        (out / f"found-{ranks.rank}.json").write_text(json.dumps(found))
        policy.strategy.close()


def _learn(policy, optimizer, step: int, *, weight: float = 1.0) -> float:
    scores = policy(input_ids=IDS).logits.float().log_softmax(-1)
    policy.strategy.backward(-weight * scores[..., 1].mean() / policy.strategy.ranks.count)
    return optimizer.step(step)["optim/grad_norm"]


def _learn_nonsense(policy, optimizer, rank: int) -> str:
    """A step in which one process alone has a gradient that is no number."""
    try:
        _learn(policy, optimizer, 3, weight=float("nan") if rank else 1.0)
    except FloatingPointError as error:
        return str(error)
    return ""


def _exact(policy) -> torch.Tensor:
    with exactly(policy) as exact:
        return exact(input_ids=IDS).logits


def _adapter_alone(policy, saved) -> bool:
    """Whether a checkpoint of the adapter has its weights and no others."""
    found = policy.strategy.weights(policy.model, adapter=True)
    if found is None:
        return True
    wanted = {name for name in saved if is_adapter_weight(name) and ":" not in name}
    return found.keys() == wanted and all(found[name].equal(saved[name]) for name in wanted)


def _state(policy, optimizer) -> dict[str, torch.Tensor]:
    """Weights and moments, on the process that has them whole."""
    strategy = policy.strategy
    weights = strategy.weights(policy.model)
    if weights is None:
        weights = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    moments = strategy.moments(policy.model, optimizer.adamw)
    return dict(weights) | {
        f"{name}:{key}": value.clone()
        for name, entries in moments.items()
        for key, value in entries.items()
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], Path(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)
