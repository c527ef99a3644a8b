"""`mmrl export`: write a checkpoint out for transformers, peft, vLLM and evaluation kits."""

from __future__ import annotations

from pathlib import Path

import click

from mmrl.errors import ConfigError

_KEYS = ("out", "checkpoint", "merge")


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("settings", nargs=-1, metavar="out=DIR [checkpoint=NAME] [merge=true]")
def export(run: Path, settings: tuple[str, ...]) -> None:
    """Write a checkpoint of a run into a folder of its own, with a model card.

    \b
    mmrl export runs/name/001 out=DIR                 the last checkpoint
    mmrl export runs/name/001 out=DIR merge=true      an adapter, merged into its weights
    mmrl export runs/name/001 out=DIR checkpoint=grpo-000100
    """
    given = _settings(settings)
    if "out" not in given:
        raise ConfigError("out: say where to write, out=DIR")
    from mmrl.export import export as write

    merge = {"true": True, "false": False}.get(given.get("merge", "false"))
    if merge is None:
        raise ConfigError(f"merge: true or false, got {given['merge']!r}")
    done = write(run, Path(given["out"]), checkpoint=given.get("checkpoint"), merge=merge)
    kind = "the adapter" if done.adapter else "the weights"
    click.echo(f"{kind} of {done.checkpoint}: {done.folder}")


def _settings(settings: tuple[str, ...]) -> dict[str, str]:
    given: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key not in _KEYS:
            raise ConfigError(f"{setting}: there is no such setting; there are: {', '.join(_KEYS)}")
        given[key] = value
    return given
