"""`mmrl data mix` and `mmrl data split`: one file of many, and many of one."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import TypeAdapter, ValidationError

from mmrl.commands.nested import nested
from mmrl.errors import ConfigError, DataError
from mmrl.progress import progress
from mmrl.registry import did_you_mean

if TYPE_CHECKING:
    from mmrl.data.mix import Found, Mixture

_NAMES = {"in": "sources", "dedup": "rules"}
"""Arguments that are called otherwise in the code."""

_RUN = ("out", "manifest", "engine", "workers")
_TEXTS = ("out", "manifest", "against", "in", "file")


@click.command()
@click.argument("arguments", nargs=-1, metavar="in.NAME=FILE... out=FILE [KEY=VALUE]...")
@click.option("--allow-skips", is_flag=True, help="End with 0 even where rows were left out.")
@click.pass_context
def mix(ctx: click.Context, arguments: tuple[str, ...], allow_skips: bool) -> None:
    """Mix rows files into one, without duplicates, and write a manifest that repeats it.

    \b
    mmrl data mix in.geo=geometry3k.jsonl in.toy=toy.jsonl out=mixed.jsonl
        weights.geo=3 weights.toy=1 caps.toy=500 repeats.geo=2 total=4000 seed=7
        dedup=[content,perceptual,ngrams] against=test.jsonl overlap=drop
    mmrl data mix manifest=mixed.manifest.json

    Without weights all rows are taken; without a total, as many as the weights allow. The same
    manifest and seed give the same bytes. Other arguments: ids=prefix (names before ids),
    share=0.8 (of runs of 13 words that make a duplicate), shuffle=false, engine=local, processes
    or ray, workers=N.
    """
    given = nested(arguments, texts=_TEXTS)
    if "manifest" in given:
        left_out = _repeat(given)
    else:
        mixture = _mixture(given)
        out = Path(_text(given, "out"))
        left_out = _mix(mixture, out, _manifest_of(out), given)
    if left_out and not allow_skips:
        click.echo(f"mmrl: {left_out} rows left out; --allow-skips accepts that", err=True)
        ctx.exit(2)


def _repeat(given: Mapping[str, Any]) -> int:
    from mmrl.data.manifest import read_manifest

    other = next((key for key in given if key not in _RUN), None)
    if other is not None:
        raise ConfigError(f"{other}: the manifest says it; give manifest=FILE and out=FILE only")
    path = Path(_text(given, "manifest"))
    mixture, made, value = read_manifest(path)
    out = Path(given["out"]) if "out" in given else made
    return _mix(mixture, out, None, given, value, same_place=out.absolute() == made.absolute())


def _mix(
    mixture: Mixture,
    out: Path,
    manifest: Path | None,
    given: Mapping[str, Any],
    wanted: Mapping[str, Any] | None = None,
    *,
    same_place: bool = True,
) -> int:
    from mmrl.data.manifest import check_repeated, write_manifest
    from mmrl.data.mix import mix as mixed
    from mmrl.data.mix import rows_of
    from mmrl.data.outputs import check_out, write_output
    from mmrl.data.records import count_records
    from mmrl.data.spool import Spool

    if wanted is None or not same_place:
        check_out(out, None)
    unfinished = out.with_name(f".{os.getpid()}.{out.name}")
    files = [*mixture.sources.values(), *([mixture.against] if mixture.against else [])]
    total = sum(count_records(file) or 0 for file in files)
    with Spool() as spool:
        with progress("looking at", "rows") as report:
            chosen, found = mixed(
                mixture,
                spool,
                engine=given.get("engine", "local"),
                workers=given.get("workers"),
                on_row=lambda count: report(count, max(count, total)),
                on_bad=lambda line: click.echo(f"mmrl: {line}", err=True),
            )
        if not chosen:
            raise DataError("in: no row is left to be mixed; nothing is written")
        try:
            with progress("writing", "rows") as report:
                rows = _counted(rows_of(chosen, spool, mixture.ids), len(chosen), report)
                write_output(near_rows(rows, out.parent), unfinished, None)
            if wanted is not None:
                check_repeated(wanted, found, unfinished, same_place=same_place)
            unfinished.replace(out)
        finally:
            unfinished.unlink(missing_ok=True)
    if manifest is not None:
        write_manifest(manifest, mixture, found, out, len(chosen))
    _tell(found, mixture)
    click.echo(f"{len(chosen)} rows in {out}")
    return sum(here.bad for here in found.values())


def _manifest_of(out: Path) -> Path:
    return out.with_name(f"{out.stem}.manifest.json")


def near_rows(rows: Iterator[dict[str, Any]], folder: Path) -> Iterator[dict[str, Any]]:
    """Give media paths below the folder as what follows it."""
    start = f"{folder.absolute().as_posix()}/"
    for raw in rows:
        for message in raw["prompt"]:
            for part in message["content"]:
                value = part[part["type"]]
                if part["type"] != "text" and isinstance(value, str):
                    part[part["type"]] = value.removeprefix(start)
        yield raw


def _counted(rows: Iterator[Any], total: int, report: Any) -> Iterator[Any]:
    for count, row in enumerate(rows, start=1):
        report(count, total)
        yield row


def _tell(found: Mapping[str, Found], mixture: Mixture) -> None:
    for name, here in found.items():
        if not name:
            continue
        parts = [f"{here.taken} of {here.rows} rows"]
        parts += [f"{count} repeat another ({rule})" for rule, count in here.duplicates.items()]
        dropped = "dropped" if mixture.overlap == "drop" else "kept"
        parts += [
            f"{count} share a {kind} with {mixture.against}, {dropped}"
            for kind, count in here.overlapping.items()
        ]
        click.echo(f"{name}: {', '.join(parts)}")


def _mixture(given: Mapping[str, Any]) -> Mixture:
    from mmrl.data.mix import Mixture

    known = {entry.name for entry in dataclasses.fields(Mixture)}
    back = {ours: theirs for theirs, ours in _NAMES.items()}
    there = [*(back.get(name, name) for name in sorted(known)), *_RUN]
    for key in given:
        if key not in there:
            hint = did_you_mean(key, there)
            raise ConfigError(
                f"{key}: there is no such argument{hint}; there are: {', '.join(there)}"
            )
    if not isinstance(given.get("in"), Mapping):
        raise ConfigError("in: give each file a name: in.geo=geometry3k.jsonl in.toy=toy.jsonl")
    values = {_NAMES.get(key, key): value for key, value in given.items() if key not in _RUN}
    if isinstance(values.get("rules"), str):
        values["rules"] = [values["rules"]]
    return typed(Mixture, values, back)


def typed(kind: Any, values: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """Make settings of arguments.

    Raises:
        ConfigError: one line; a value does not fit.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        problem = error.errors()[0]
        path = [names.get(str(key), str(key)) for key in problem["loc"]]
        found = json.dumps(problem["input"], default=str)
        raise ConfigError(f"{'.'.join(path)}: {found} does not fit ({problem['msg']})") from error


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{key}: is missing; give a file")
    return value
