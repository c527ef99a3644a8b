"""The `mmrl` command: a sub-command is imported when it is used, a user's mistake is one line."""

from __future__ import annotations

import atexit
import errno
import importlib
import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn

import click

from mmrl import __version__
from mmrl.errors import UserError

COMMANDS = {
    "train": ("mmrl.commands.train:train", "Train a stage or a curriculum."),
    "plan": ("mmrl.commands.plan:plan", "Predict the memory and the seconds of a step."),
    "data": ("mmrl.commands.data:data", "Build rows and check them."),
    "mixture": ("mmrl.commands.mixture:mixture", "Find the mixture of sources that trains best."),
    "rewards": ("mmrl.commands.rewards:rewards", "List verifiers, try them, score a file."),
    "eval": ("mmrl.commands.eval:eval_", "Score a model, or stored responses, on benchmarks."),
    "serve": ("mmrl.commands.serve:serve", "Start a vLLM server that samples for training."),
    "export": ("mmrl.commands.export:export", "Write a checkpoint out for other programs."),
    "bench": ("mmrl.commands.bench:bench", "Measure parts of mmrl on this machine."),
    "config": ("mmrl.commands.config:config", "Show, compare and list configurations and keys."),
    "init": ("mmrl.commands.init:init", "Start a project of your own in a new folder."),
    "doctor": ("mmrl.commands.doctor:doctor", "Say what this machine has, and what is missing."),
    "completion": ("mmrl.commands.completion:completion", "Print the TAB completion for a shell."),
}
"""Where each sub-command is defined, and its line in `mmrl --help`."""


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the sub-commands, in the order in which they are met."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a sub-command."""
        if cmd_name not in COMMANDS:
            near = get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(
                f"there is no command {cmd_name!r}; {hint}(there are: {', '.join(COMMANDS)})"
            )
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        return getattr(importlib.import_module(module), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sub-commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mmrl")
@click.option(
    "--project", metavar="DIR", help="The project folder; else $MMRL_PROJECT, else found."
)
@click.pass_context
def cli(ctx: click.Context, project: str | None) -> None:
    """Teach vision-language and omni models to reason, by RL with verifiable rewards."""
    ctx.obj = project


def main() -> None:
    """Run the command line and exit: 0, 2 after a user's mistake, 130 after Ctrl-C."""
    code = run(sys.argv[1:])
    if "LOCAL_RANK" in os.environ:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """Exit without taking Python down: where a thread of torch's process group lets go of a tensor
    meanwhile, the process would be aborted.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; mistakes go to stderr, one line each."""
    try:
        code = cli.main(list(arguments), prog_name="mmrl", standalone_mode=False)
        sys.stdout.flush()
    except UserError as error:
        return _complain(str(error).splitlines(), error.exit_code)
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"; see '{context.command_path} --help'" if context else ""
        return _complain([f"{error.format_message().rstrip('.')}{hint}"], error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _complain(["stopped"], 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        problem = _path_problem(error)
        if problem is None:
            raise
        advice = "check the path, who may write there, and the space that is left"
        return _complain([f"{problem}; {advice}"], 2)
    return code if isinstance(code, int) else 0


_PATH_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG"),
        *("ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "ENAMETOOLONG"),
    )
)
"""What is wrong with a path or a disk, and not with the program."""


def _path_problem(error: Exception) -> str | None:
    """What is wrong with a path or a disk, also where safetensors says it in its own error."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}" if error.errno in _PATH_ERRORS else None
    found = re.search(r"\(os error (\d+)\)", str(error))
    if type(error).__name__ != "SafetensorError" or not found or int(found[1]) not in _PATH_ERRORS:
        return None
    return f"a file of weights: {os.strerror(int(found[1]))}"


def _complain(lines: Sequence[str], code: int) -> int:
    for line in lines:
        click.echo(f"mmrl: {line}", err=True)
    return code
