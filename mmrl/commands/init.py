"""`mmrl init`: a project of the user's own, begun as a copy of the one that mmrl carries."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from mmrl.errors import UserError
from mmrl.project import FOLDERS, default_project

_README = """# A project for mmrl

    configs/          what runs: stages, curricula, their sections; `mmrl config list` names them
    data_pipelines/   what makes rows, one file per dataset or task
    rewards/          verifiers, one file per kind of answer; `mmrl rewards list` names them
    eval/             benchmarks

Here, or in any folder below:

    mmrl train curriculum=quickstart --dry-run    what would run, and where each value came from
    mmrl train curriculum=quickstart              train; the run folder is runs/quickstart/001
    mmrl config keys                              every key with its range, default and meaning

A file that you delete is still found among those that mmrl brings; one that you change is yours.
So keep what you mean to change, and delete the rest.
"""
_IGNORE = "runs/\n__pycache__/\n"


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Start a project of your own in DIR: configs, rewards, pipelines and benchmarks to change."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"init: {folder} is a file; name a new or empty folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"init: {folder} is not empty; name a new or empty folder")
    source = default_project()
    try:
        for name in FOLDERS:
            if (source / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
                shutil.copytree(source / name, folder / name, ignore=ignored)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text(_README, encoding="utf-8")
        (folder / ".gitignore").write_text(_IGNORE, encoding="utf-8")
    except OSError as error:
        raise UserError(f"init: {folder} cannot be written: {error.strerror}") from error
    click.echo(f"made {folder}; next: cd {folder} && mmrl train curriculum=quickstart --dry-run")
