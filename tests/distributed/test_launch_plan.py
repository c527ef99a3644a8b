"""What a launch would start is shown and checked without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from mmrl.config.launch import LaunchConfig
from mmrl.config.loader import load_run
from mmrl.config.schema import GrpoStage
from mmrl.distributed.plan import launch_files, plan_lines
from mmrl.distributed.ranks import ALONE, Ranks, interleave
from mmrl.errors import ConfigError
from mmrl.project import find_project


def _run(*arguments: str):
    project = find_project()
    return load_run([*arguments], project).run, project


def test_what_is_shared_out_comes_back_in_order():
    items = list(range(7))
    parts = [Ranks(rank=rank, count=3).own(items) for rank in range(3)]
    assert parts == [[0, 3, 6], [1, 4], [2, 5]]
    assert interleave(parts) == items
    assert ALONE.own(items) == items
    assert ALONE.totals([1.5, 2.0], "") == [1.5, 2.0]


def test_one_node_has_a_configuration_for_accelerate_and_for_deepspeed(tmp_path):
    run, project = _run("stage=geometry3k", "model=qwen2_5_vl_7b", "launch=node8", "out=o")
    files = launch_files(run, tmp_path, project)
    accelerate = yaml.safe_load(files["accelerate-node0.yaml"])
    assert (accelerate["distributed_type"], accelerate["num_processes"]) == ("DEEPSPEED", 8)
    named = accelerate["deepspeed_config"]["deepspeed_config_file"]
    assert named == str(tmp_path / "deepspeed-geometry3k.json")
    deepspeed = json.loads(files["deepspeed-geometry3k.json"])
    stage = run.stages["geometry3k"]
    assert isinstance(stage, GrpoStage)
    assert deepspeed["zero_optimization"]["stage"] == 2
    assert deepspeed["gradient_clipping"] == stage.optim.grad_clip
    assert deepspeed["torch_autocast"]["enabled"] == (stage.model.dtype == "bfloat16")
    assert deepspeed["torch_autocast"]["lower_precision_safe_modules"] == []


def test_every_node_has_its_command():
    typed = ["stage=geometry3k", "launch=multi_node", "launch.master_address=n0"]
    run, project = _run(*typed)
    lines = [line for line in plan_lines(run, project, typed).splitlines() if " node " in line]
    assert len(lines) == 2
    for node, line in enumerate(lines):
        assert line == (
            f"# node {node}: mmrl train stage=geometry3k launch=multi_node "
            f"launch.master_address=n0 out={run.out} launch.node_rank={node}"
        )
    assert "still missing" not in plan_lines(run, project, typed)
    run, project = _run(*typed[:2])
    assert "still missing: launch.master_address=HOST" in plan_lines(run, project, typed[:2])


def test_a_batch_script_starts_one_task_per_node_which_finds_its_own_number():
    run, project = _run(
        "stage=geometry3k",
        "launch=slurm",
        "launch.nodes=4",
        "launch.sbatch=[--partition=gpu]",
        "out=o",
    )
    script = launch_files(run, run.out / "launch", project)["job.sbatch"]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert script.startswith("#!/bin/bash\n#SBATCH")
    assert script.count("--nodes=4") == 1
    assert "#SBATCH --partition=gpu" in script
    assert "#SBATCH --exclusive" in script
    assert "PORT=$((20000 + SLURM_JOB_ID % 20000))" in script
    inner = script.split("bash -c ")[1].strip()
    said = subprocess.run(
        ["bash", "-c", f"mmrl() {{ printf '%s\\n' \"$@\"; }}; export -f mmrl; bash -c {inner}"],
        env={"SLURM_NODEID": "1", "MASTER": "n0", "PORT": "25123", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert "launch.node_rank=1" in said
    assert "launch.master_address=n0" in said
    assert "launch.master_port=25123" in said
    assert "resume=o" in said


def test_a_job_that_asks_for_cpus_or_a_port_has_those():
    sbatch = "launch.sbatch=[--cpus-per-task=96]"
    run, project = _run(
        "stage=geometry3k", "launch=slurm", sbatch, "launch.master_port=4000", "out=o"
    )
    script = launch_files(run, run.out / "launch", project)["job.sbatch"]
    assert "#SBATCH --cpus-per-task=96" in script
    assert "--exclusive" not in script
    assert "PORT=4000" in script


@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3", "fsdp2"])
def test_accelerate_and_deepspeed_know_every_key(tmp_path, strategy):
    """Both take the files in by their own parsers; accelerate refuses keys that it does not know."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    offload = {"zero2": "optimizer", "zero3": "all", "fsdp2": "all"}.get(strategy, "none")
    run, project = _run(
        "stage=geometry3k",
        "launch=node8",
        f"launch.strategy={strategy}",
        f"launch.offload={offload}",
        "out=o",
    )
    for name, text in launch_files(run, tmp_path, project).items():
        (tmp_path / name).write_text(text)
    config = load_config_from_file(str(tmp_path / "accelerate-node0.yaml"))
    assert (config.num_processes, config.num_machines, config.machine_rank) == (8, 1, 0)
    known = {action.dest for action in launch_command_parser()._actions}
    assert {*config.fsdp_config, *config.deepspeed_config} <= known
    if not strategy.startswith("zero"):
        return
    runtime = pytest.importorskip("deepspeed.runtime.config")
    given = json.loads((tmp_path / "deepspeed-geometry3k.json").read_text())
    # nobody was started: it counts the processes of this one
    read = runtime.DeepSpeedConfig(given | {"train_batch_size": 1})
    assert read.zero_optimization_stage == int(strategy[-1])
    assert read.gradient_clipping == given["gradient_clipping"]
    offloads = read.zero_config.offload_optimizer, read.zero_config.offload_param
    assert [part is not None for part in offloads] == [True, strategy == "zero3"]
    assert not read.zero_config.model_extra


def test_a_dry_run_of_eight_processes_loads_no_torch():
    code = (
        "import sys; from mmrl.cli import run;"
        "code = run(['train', 'stage=geometry3k', 'model=qwen2_5_vl_7b', 'launch=node8', '--dry-run']);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        "# node 0: mmrl train stage=geometry3k model=qwen2_5_vl_7b launch=node8 out=" in done.stdout
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"processes": 2}, r"does not go with 2 process\(es\); use ddp, zero2, zero3 or fsdp2"),
        (
            {"scheduler": "slurm", "processes": 8, "strategy": "ddp", "sbatch": ["--nodes=4"]},
            "sbatch option '--nodes=4': say it by nodes",
        ),
        ({"nodes": 2, "strategy": "ddp", "node_rank": 2}, "node_rank 2 is none of 2 node"),
        ({"sbatch": ["--time=1"]}, "sbatch options go with scheduler slurm"),
        ({"master_address": "a b"}, "master_address"),
        (
            {"processes": 2, "strategy": "zero2", "offload": "all"},
            "offload 'all' does not go with strategy 'zero2', which can offload optimizer",
        ),
        ({"processes": 2, "strategy": "ddp", "offload": "optimizer"}, "can offload nothing"),
    ],
)
def test_a_launch_that_cannot_be_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        LaunchConfig(**values)


def test_a_resumed_run_may_change_its_launch_and_nothing_else(tmp_path):
    from mmrl.config.dump import dump_run

    run, project = _run("stage=quickstart/grpo", f"out={tmp_path}")
    (tmp_path / "config.yaml").write_text(dump_run(run))
    found = load_run([f"resume={tmp_path}", "launch=node8", "launch.processes=4"], project).run
    assert (found.launch.processes, found.launch.strategy) == (4, "zero2")
    assert found.stages == run.stages
    with pytest.raises(ConfigError, match="seed: cannot be changed"):
        load_run([f"resume={tmp_path}", "seed=2", "launch=local"], project)
    with pytest.raises(ConfigError, match=r"launch\.proceses: unknown key"):
        load_run([f"resume={tmp_path}", "launch.proceses=2"], project)
