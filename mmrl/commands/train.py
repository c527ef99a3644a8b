"""`mmrl train`: resolve the configuration, then hand it to the curriculum."""

from __future__ import annotations

from pathlib import Path

import click

from mmrl.config.dump import dump_run
from mmrl.config.loader import LoadedRun, load_run
from mmrl.config.names import check_names
from mmrl.config.runs import ASKED, RESOLVED, remember
from mmrl.distributed.connect import is_started
from mmrl.distributed.launch import launch as launch_processes
from mmrl.distributed.plan import plan_lines
from mmrl.interrupts import hear_interrupts
from mmrl.project import load_project


@click.command()
@click.argument("overrides", nargs=-1, metavar="stage=NAME|curriculum=NAME [KEY=VALUE]...")
@click.option("--dry-run", is_flag=True, help="Print the resolved configuration and stop.")
@click.pass_context
def train(ctx: click.Context, overrides: tuple[str, ...], dry_run: bool) -> None:
    """Train a stage or a curriculum.

    \b
    mmrl train curriculum=quickstart             every stage of configs/curriculum/quickstart.yaml
    mmrl train stage=quickstart/grpo             one stage
    mmrl train stage=NAME model=qwen2_5_vl_7b    a section from another file, here configs/model/
    mmrl train stage=NAME optim.lr=1e-6          one value; 'mmrl config keys' lists them all
    mmrl train curriculum=NAME stages.grpo.optim.lr=1e-6    one value of one stage
    mmrl train curriculum=NAME out=DIR seed=1    the run folder and the seed
    mmrl train resume=RUN                        go on where a run stopped
    mmrl train curriculum=NAME resume=auto       go on in the newest run of that name, or start one
    """
    project = load_project(ctx.find_root().obj)
    loaded = load_run(overrides, project)
    check_names(loaded)
    if dry_run:
        click.echo(dump_run(loaded.run, loaded.provenance), nl=False)
        if launch := plan_lines(loaded.run, project, overrides):
            click.echo(launch, nl=False)
        return
    if loaded.resume is None and loaded.run.launch.node_rank == 0 and not is_started():
        remember(loaded.run.out, dump_run(loaded.run))
    try:
        launch = loaded.run.launch
        if (launch.world > 1 or launch.scheduler != "none") and not is_started():
            ctx.exit(launch_processes(loaded.run, project))
        _train(loaded)
    except KeyboardInterrupt:
        click.echo(f"mmrl: stopped{_how_to_go_on(loaded.run.out)}", err=True)
        ctx.exit(130)


def _train(loaded: LoadedRun) -> None:
    with hear_interrupts():
        from mmrl.curriculum.runner import train as train_curriculum

        train_curriculum(loaded)


def _how_to_go_on(out: Path) -> str:
    started = (out / RESOLVED).is_file() or (out / ASKED).is_file()
    return f"; go on with: mmrl train resume={out}" if started else " before the run was started"
