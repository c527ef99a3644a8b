"""What is started, as configuration that accelerate and DeepSpeed read, and the command for each
node. No torch is imported here.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mmrl.config.launch import LaunchConfig, Offload
from mmrl.config.schema import Run, SelectStage
from mmrl.distributed.check import lacks_address

LAUNCH_FOLDER = "launch"
"""In the run folder: what was started, and what each process wrote."""
PORT = 29500
"""Of node 0, where several nodes meet and no other was named."""


def deepspeed_config(
    stage: Literal[2, 3],
    *,
    grad_clip: float,
    dtype: Literal["float32", "bfloat16"],
    offload: Offload = "none",
) -> dict[str, Any]:
    """The configuration of DeepSpeed: weights are float32, the forward pass may be bfloat16.

    Micro-batches are counted in tokens, so that their number differs from step to step; DeepSpeed
    is told to leave accumulation to us.
    """
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": grad_clip,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": stage,
            "contiguous_gradients": True,
            "overlap_comm": False,
            "reduce_scatter": True,
            **({"offload_optimizer": {"device": "cpu"}} if offload != "none" else {}),
            **({"offload_param": {"device": "cpu"}} if offload == "all" else {}),
        },
        "torch_autocast": {
            "enabled": dtype != "float32",
            "dtype": "bfloat16",
            # else weights are rounded when they are gathered, and sums of gradients are
            "lower_precision_safe_modules": [],
        },
        "steps_per_print": 2**31 - 1,
    }


def accelerate_config(launch: LaunchConfig, *, node: int, folder: Path, stage: str) -> dict:
    """The configuration of `accelerate launch` on a node; `stage` is the first that trains."""
    config: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": _DISTRIBUTED_TYPE[launch.strategy],
        "machine_rank": node,
        "main_process_ip": launch.master_address,
        "main_process_port": launch.master_port or PORT,
        "main_training_function": "main",
        "mixed_precision": "no",
        "num_machines": launch.nodes,
        "num_processes": launch.world,
        "rdzv_backend": "static",
        "same_network": True,
        "use_cpu": launch.backend == "gloo",
    }
    if launch.strategy in ("zero2", "zero3"):
        config["deepspeed_config"] = {
            "deepspeed_config_file": str(folder / f"deepspeed-{stage}.json"),
            "deepspeed_multinode_launcher": "standard",
            "zero3_init_flag": False,
        }
    if launch.strategy == "fsdp2":
        config["fsdp_config"] = {
            "fsdp_offload_params": launch.offload == "all",
            "fsdp_version": 2,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_reshard_after_forward": True,
            "fsdp_state_dict_type": "FULL_STATE_DICT",
            "fsdp_cpu_ram_efficient_loading": False,
        }
    return config


_DISTRIBUTED_TYPE: Mapping[str, str] = {
    "single": "NO",
    "ddp": "MULTI_GPU",
    "zero2": "DEEPSPEED",
    "zero3": "DEEPSPEED",
    "fsdp2": "FSDP",
}


def launch_files(run: Run, folder: Path, project: Path) -> dict[str, str]:
    """The files that a launch writes into its folder, by name."""
    import yaml

    launch = run.launch
    trained = {
        name: stage for name, stage in run.stages.items() if not isinstance(stage, SelectStage)
    }
    first = next(iter(trained), "none")
    files = {}
    # a job learns which nodes it has when it begins, and writes these files then
    for node in range(launch.nodes if launch.scheduler == "none" else 0):
        config = accelerate_config(launch, node=node, folder=folder, stage=first)
        files[f"accelerate-node{node}.yaml"] = yaml.safe_dump(config, sort_keys=False)
    if launch.strategy in ("zero2", "zero3"):
        for name, stage in trained.items():
            config = deepspeed_config(
                2 if launch.strategy == "zero2" else 3,
                grad_clip=stage.optim.grad_clip,
                dtype=stage.model.dtype,
                offload=launch.offload,
            )
            files[f"deepspeed-{name}.json"] = json.dumps(config, indent=2) + "\n"
    if launch.scheduler == "slurm":
        files["job.sbatch"] = sbatch_script(run, folder, project)
    return files


def plan_lines(run: Run, project: Path, typed: Sequence[str]) -> str:
    """What a launch writes and starts, for `--dry-run`: every file whole, and the command for each
    node, by what was `typed` for this one. Empty for one process.
    """
    if run.launch.world == 1 and run.launch.scheduler == "none":
        return ""
    folder = run.out / LAUNCH_FOLDER
    parts = []
    for name, text in launch_files(run, folder, project).items():
        parts += [f"\n# {folder / name}", text.rstrip("\n")]
    parts.append("")
    if run.launch.scheduler == "slurm":
        parts.append(f"# mmrl hands it in: sbatch {folder / 'job.sbatch'}")
        return "\n".join(parts) + "\n"
    if lacks_address(run.launch):
        parts.append("# still missing: launch.master_address=HOST, node 0 as the others reach it")
    for node in range(run.launch.nodes):
        command = _train_words(run, typed, node)
        config = str(folder / f"accelerate-node{node}.yaml")
        started = ["accelerate", "launch", "--config_file", config, "-m", *command]
        parts.append(f"# node {node}: {shlex.join(command)}")
        parts.append(f"#   the same by accelerate, with the files above: {shlex.join(started)}")
    return "\n".join(parts) + "\n"


def _train_words(run: Run, typed: Sequence[str], node: int) -> list[str]:
    """The command that starts a node's processes; all nodes are told the same run folder."""
    words = [word for word in typed if not word.startswith("launch.node_rank=")]
    if not any(word.startswith(("out=", "resume=")) for word in words):
        words.append(f"out={run.out}")
    if run.launch.nodes > 1:
        words.append(f"launch.node_rank={node}")
    return ["mmrl", "train", *words]


def sbatch_script(run: Run, folder: Path, project: Path) -> str:
    """A batch script for SLURM: one task per node, each of which starts the node's processes."""
    launch = run.launch
    given = {option.partition("=")[0] for option in launch.sbatch}
    options = {
        "--job-name": f"mmrl-{run.name}",
        "--nodes": str(launch.nodes),
        "--ntasks-per-node": "1",
        "--output": str(folder / "slurm-%j.log"),
    }
    if launch.backend != "gloo":
        options["--gpus-per-node"] = str(launch.processes)
    header = [f"{key}={value}" for key, value in options.items() if key not in given]
    if not given & {"--cpus-per-task", "-c", "--cpus-per-gpu", "--exclusive"}:
        # a task, which is all processes of a node, would else have one CPU
        header.append("--exclusive")
    # jobs that share a node meet at ports of their own
    port = launch.master_port or "$((20000 + SLURM_JOB_ID % 20000))"
    command = [
        "mmrl",
        "--project",
        shlex.quote(str(project)),
        "train",
        shlex.quote(f"resume={run.out}"),
        "launch.scheduler=none",
        "'launch.sbatch=[]'",
        '"launch.node_rank=$SLURM_NODEID"',
        '"launch.master_address=$MASTER"',
        '"launch.master_port=$PORT"',
    ]
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in [*header, *launch.sbatch]),
            "set -euo pipefail",
            f"cd {shlex.quote(str(Path.cwd()))}",
            'MASTER=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
            f"PORT={port}",
            "export MASTER PORT",
            # srun does not take over what was asked of sbatch
            '[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
            # quoted so that each task, not the batch script, fills in its own node
            f"srun --kill-on-bad-exit=1 bash -c {shlex.quote(' '.join(command))}",
            "",
        ]
    )
