"""Makes what a stage trains ready: its policy, the reference it is held to and the optimizer, each
spread over the processes as `launch.strategy` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mmrl.config.schema import AnyStage, GrpoStage, Run, SelectStage, SftStage, Sharing
from mmrl.distributed.ranks import Ranks
from mmrl.distributed.spread import check_gathered, is_shared_out, keep_step, spread
from mmrl.model import Policy, device_of, load_policy
from mmrl.prompt import Prompts
from mmrl.seeds import derive
from mmrl.types import Row
from mmrl.update import Optimizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """What a stage trains, and with what."""

    policy: Policy
    reference: Policy | None
    optimizer: Optimizer
    sharing: Sharing

    def close(self) -> None:
        """Let go of the models."""
        for policy in (self.policy, self.reference):
            if policy is not None and not policy.adapter_off:
                policy.strategy.close()


def load_stage_policy(
    run: Run, stage: AnyStage, weights: Path | None, gone_on: Path | None
) -> Policy:
    """The policy as the stage begins, or as it was in a checkpoint of it; without weights where no
    process is to hold all of them.
    """
    trains = not isinstance(stage, SelectStage)
    empty = trains and is_shared_out(run.launch)
    return _load(run, stage, weights, gone_on, empty=empty)


def make_ready(
    run: Run,
    name: str,
    policy: Policy,
    prompts: Prompts,
    rows: Sequence[Row],
    ranks: Ranks,
    *,
    weights: Path | None,
    gone_on: Path | None,
    share: Callable[[Sequence[Policy]], Sharing],
    folder: Path,
) -> Ready:
    """Spread the policy that `load_stage_policy` gave and its reference.

    What completions of a group have in common (`share`) is tried on weights as they were loaded,
    or, where no process holds all of them, by all processes together.
    """
    stage = run.stages[name]
    if isinstance(stage, SelectStage):
        raise TypeError(f"stage {name} trains nothing")
    empty = policy.device.type == "meta"
    own = _has_reference(stage) and not policy.base
    reference = _reference(run, stage, weights, empty=empty) if own else None
    pair = [policy] if reference is None else [policy, reference]
    sharing = None if empty else share(pair)

    def source(gone_on: Path | None) -> Callable[[], Policy]:
        return lambda: _load(run, _on_cpu(stage), weights, gone_on, empty=False)

    device = device_of(stage.model)
    if empty and stage.rollout.engine == "hf" and device.type == "cuda":
        needed = sum(p.nbytes for p in policy.model.parameters())
        check_gathered(needed, torch.cuda.mem_get_info()[1], name)
    policy = spread(policy, run.launch, ranks, load=source(gone_on), device=device)
    prompts.policy = policy
    optimizer = Optimizer(config=stage.optim, policy=policy)
    if reference is not None and empty:
        reference = spread(reference, run.launch, ranks, load=source(None), device=device)
        reference.strategy.attach(reference.model, None, grad_clip=0.0)
    if _has_reference(stage) and not own:
        reference = replace(policy, adapter_off=True)
    pair = [policy] if reference is None else [policy, reference]
    if sharing is None:
        sharing = share(pair)
    keep_step(pair, prompts, rows, folder)
    return Ready(policy=policy, reference=reference, optimizer=optimizer, sharing=sharing)


def _load(
    run: Run, stage: AnyStage, weights: Path | None, gone_on: Path | None, *, empty: bool
) -> Policy:
    seed = derive(run.seed, "weights")
    if stage.model.lora is not None:
        return load_policy(stage.model, seed=seed, weights=weights, adapter=gone_on, empty=empty)
    return load_policy(stage.model, seed=seed, weights=gone_on or weights, empty=empty)


def _on_cpu(stage: SftStage | GrpoStage) -> SftStage | GrpoStage:
    return stage.model_copy(update={"model": stage.model.model_copy(update={"device": "cpu"})})


def _has_reference(stage: SftStage | GrpoStage) -> bool:
    return isinstance(stage, GrpoStage) and stage.algo.kl_weight > 0


def _reference(
    run: Run, stage: SftStage | GrpoStage, weights: Path | None, *, empty: bool
) -> Policy:
    reference = _load(run, stage, weights, None, empty=empty)
    reference.model.requires_grad_(False).eval()
    return reference
