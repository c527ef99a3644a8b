"""The keys of `launch:`: how many processes train together, where, and how weights are spread over
them. No torch is imported here.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mmrl.config.section import Section

StrategyName = Literal["single", "ddp", "zero2", "zero3", "fsdp2"]
Offload = Literal["none", "optimizer", "all"]
OFFLOADS = {"zero2": ("optimizer",), "zero3": ("optimizer", "all"), "fsdp2": ("all",)}
"""What each strategy can keep in the host's memory."""


class LaunchConfig(Section):
    """How many processes train together, and how the weights are spread over them."""

    processes: int = Field(default=1, ge=1)
    """One per GPU, on each node."""
    strategy: StrategyName = "single"
    """`ddp`: every process holds everything. `zero2`: gradients and optimizer states are shared
    out, `zero3` (DeepSpeed) and `fsdp2` (torch): weights too."""
    offload: Offload = "none"
    """What waits in the memory of the host instead of the GPU's: `optimizer` (zero2 and zero3) its
    states, with their step; `all` (zero3 and fsdp2) the weights too. Slower; it needs less of the
    GPU."""
    nodes: int = Field(default=1, ge=1)
    """Machines; all of them see the run folder under the same path."""
    node_rank: int = Field(default=0, ge=0)
    """Which of the nodes this command runs on, from 0."""
    master_address: str = Field(default="127.0.0.1", pattern=r"^[\w.:-]+$")
    """Name or address of node 0, as the others reach it."""
    master_port: int | None = Field(default=None, ge=1, le=65535)
    """A port that is free on node 0; by default 29500, or any free one where there is one node."""
    backend: Literal["auto", "nccl", "gloo"] = "auto"
    """What tensors travel by: nccl between GPUs, gloo between CPUs."""
    timeout_s: float = Field(default=1800.0, gt=0)
    """A process that waits so long for the others ends the run with an error."""
    scheduler: Literal["none", "slurm"] = "none"
    """`slurm`: write a batch script that starts every node, and hand it in."""
    sbatch: tuple[str, ...] = ()
    """Options of the batch script, such as `--partition=gpu` and `--time=24:00:00`."""

    @property
    def world(self) -> int:
        """Processes on all nodes."""
        return self.processes * self.nodes

    @model_validator(mode="after")
    def _processes(self) -> LaunchConfig:
        if (self.world == 1) != (self.strategy == "single"):
            use = "single" if self.world == 1 else "ddp, zero2, zero3 or fsdp2"
            raise ValueError(
                f"strategy {self.strategy!r} does not go with {self.world} process(es); use {use}"
            )
        return self

    @model_validator(mode="after")
    def _offloads(self) -> LaunchConfig:
        able = OFFLOADS.get(self.strategy, ())
        if self.offload != "none" and self.offload not in able:
            raise ValueError(
                f"offload {self.offload!r} does not go with strategy {self.strategy!r}, which can "
                f"offload {' or '.join(able) or 'nothing'}"
            )
        return self

    @model_validator(mode="after")
    def _nodes(self) -> LaunchConfig:
        if self.node_rank >= self.nodes:
            raise ValueError(
                f"node_rank {self.node_rank} is none of {self.nodes} node(s), which count from 0"
            )
        if self.sbatch and self.scheduler != "slurm":
            raise ValueError("sbatch options go with scheduler slurm")
        for option in self.sbatch:
            if option.startswith(("--nodes", "-N")):
                raise ValueError(
                    f"sbatch option {option!r}: say it by nodes, which count processes"
                )
        return self
