"""`mmrl data build cold_start`: take rows through a chain of teachers and rules."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from mmrl.config.overrides import Override, parse_overrides
from mmrl.errors import ConfigError

NAME = "cold_start"
_OWN = {
    "in": "the rows, for example in=rows.jsonl",
    "out": "the file to write, for example out=cold.jsonl",
    "chain": "a file of configs/cold_start/, for example chain=vision_r1",
}


def build_cold_start(arguments: Sequence[str], project: Path, *, allow_skips: bool) -> int:
    """Run a chain as the arguments say and return the exit code.

    Raises:
        ConfigError: an argument or the chain is wrong.
        DataError: the rows cannot be read, or `out` is something else already.
        RunError: the teachers cannot be asked any more; what they answered is kept.
    """
    from mmrl.coldstart.chain import run_chain
    from mmrl.coldstart.loading import load_chain
    from mmrl.coldstart.output import check_out, write_result
    from mmrl.coldstart.screen import show
    from mmrl.data.rows import load_rows

    given, overrides = _split(parse_overrides(arguments))
    chain = load_chain(given["chain"], overrides, project)
    source, out = Path(given["in"]), Path(given["out"])
    rows = load_rows(source)
    check_out(out, chain, source)
    out.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with leaving_at_once(), show() as on_progress:
        result = run_chain(
            chain, rows, cache=reply_folder(chain.config.cache), on_progress=on_progress
        )
    seconds = time.monotonic() - began
    manifest = write_result(result, chain, source=source, rows=len(rows), out=out, seconds=seconds)
    for line in _told(manifest, out):
        click.echo(line)
    if not result.done:
        click.echo("mmrl: no row came through the chain", err=True)
        return 2
    unanswered = manifest["unanswered"]
    if unanswered:
        again = "give the same command again to ask for them"
        click.echo(f"mmrl: {unanswered} rows got no answer; {again}", err=True)
    return 2 if unanswered and not allow_skips else 0


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process without waiting for requests under way; replies are on disk."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("mmrl: stopped; what was answered is kept", err=True)
        sys.stderr.flush()
        os._exit(130)


def reply_folder(given: Path | None) -> Path:
    """Return where replies are kept."""
    if given is not None:
        return given
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "mmrl" / "replies"


def _split(overrides: Sequence[Override]) -> tuple[dict[str, str], list[Override]]:
    given = {override.key: override.text for override in overrides if override.key in _OWN}
    missing = [f"{key}: give {what}" for key, what in _OWN.items() if not given.get(key)]
    if missing:
        raise ConfigError("\n".join(missing))
    return given, [override for override in overrides if override.key not in _OWN]


def _told(manifest: Mapping[str, Any], out: Path) -> list[str]:
    rows = ", ".join(f"{found['rows']} rows in {name}" for name, found in manifest["out"].items())
    rejected = manifest["rejected"]
    lines = [f"{rows} ({out.parent})" if out.parent != Path() else rows]
    if rejected:
        by_step = ", ".join(f"{step} {count}" for step, count in rejected.items())
        total = sum(rejected.values())
        lines.append(f"{total} left out, with the reason in {out.stem}.rejected.jsonl: {by_step}")
    for name, count in manifest["teachers"].items():
        if not count["replies"] and not count["failed"]:
            continue
        tokens = f"{count['prompt_tokens']} + {count['completion_tokens']} tokens"
        cached = count["replies"] - count["asked"]
        line = f"{name}: {count['replies']} replies, {cached} of them from the cache, {tokens}"
        if count["uncounted"]:
            line += f" ({count['uncounted']} replies came without a count)"
        if count["cost"]:
            line += f", cost {count['cost']:.4g}, of which {count['spent']:.4g} now"
        lines.append(line)
    return lines
