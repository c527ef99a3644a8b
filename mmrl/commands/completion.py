"""`mmrl completion`: the TAB completion of bash and zsh, as a script for the shell to read."""

from __future__ import annotations

import re

import click

from mmrl.completion import answers, read_line
from mmrl.errors import UserError
from mmrl.project import find_project

_BASH = r"""# eval "$(mmrl completion bash)"   in ~/.bashrc
_mmrl() {
  local IFS=$'\n'
  COMPREPLY=($("$1" completion answer "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null))
}
complete -o nospace -F _mmrl mmrl
"""
# bash replaces only what stands after the last of COMP_WORDBREAKS (`=` and `:` are among them),
# so the answers are cut there; -o nospace because a finished answer brings its own space.

_ZSH = r"""#compdef mmrl
# eval "$(mmrl completion zsh)"   in ~/.zshrc, after compinit
_mmrl() {
  local -a found finished
  local line="${(j: :)words[1,CURRENT]}"
  found=("${(@f)$("${words[1]}" completion answer "$line" '' 2>/dev/null)}")
  finished=(${(M)found:#* })
  compadd -Q -S ' ' -- ${finished% }
  compadd -Q -S '' -- ${found:#* }
}
compdef _mmrl mmrl
"""


@click.group()
def completion() -> None:
    """Print the TAB completion for a shell.

    \b
    eval "$(mmrl completion bash)"    in ~/.bashrc
    eval "$(mmrl completion zsh)"     in ~/.zshrc
    """


@completion.command()
def bash() -> None:
    """Print the script for bash."""
    click.echo(_BASH, nl=False)


@completion.command()
def zsh() -> None:
    """Print the script for zsh."""
    click.echo(_ZSH, nl=False)


@completion.command(hidden=True)
@click.argument("line")
@click.argument("breaks")
@click.pass_context
def answer(ctx: click.Context, line: str, breaks: str) -> None:
    """Print what may stand at the end of a command line, one answer a line."""
    typed = read_line(line)
    try:
        found = answers(typed.words[1:] or ("",), find_project(ctx.find_root().obj))
    except UserError:
        return
    if typed.quote:
        found = [re.sub(r"\\(.)", r"\1", word.rstrip(" ")) for word in found]
    cut = max(typed.words[-1].rfind(sign) for sign in breaks or "\0") + 1
    start = typed.quoted_from if typed.quote and breaks else cut
    for word in found:
        click.echo(word[start:])
