"""`mmrl data split`: cut a rows file into parts."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mmrl.commands.data_mix import near_rows, typed
from mmrl.commands.nested import nested
from mmrl.errors import ConfigError, DataError
from mmrl.progress import progress
from mmrl.registry import did_you_mean

_RUN = ("out", "engine", "workers")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, metavar="out=FOLDER shares.NAME=SHARE... [KEY=VALUE]...")
@click.option("--allow-skips", is_flag=True, help="End with 0 even where rows were left out.")
@click.pass_context
def split(ctx: click.Context, file: Path, arguments: tuple[str, ...], allow_skips: bool) -> None:
    """Cut FILE into parts that hold the same kinds of rows and share no medium.

    \b
    mmrl data split rows.jsonl out=parts shares.train=0.9 shares.eval=0.1
    mmrl data split rows.parquet out=parts shares.train=8 shares.dev=1 shares.test=1
        by=[source,answer] seed=3

    by: source, modality, verifier, answer, difficulty (by tenths), extra.KEY. together=nothing
    lets rows that show the same medium go to different parts.
    """
    given = nested(arguments)
    wanted, out = _settings(given), Path(str(given["out"]))
    left_out = _split(file, wanted, out, given)
    if left_out and not allow_skips:
        click.echo(f"mmrl: {left_out} rows left out; --allow-skips accepts that", err=True)
        ctx.exit(2)


def _settings(given: Mapping[str, Any]) -> Any:
    from mmrl.data.split import Split, check_split

    there = [*(entry.name for entry in dataclasses.fields(Split)), *_RUN]
    for key in given:
        if key not in there:
            hint = did_you_mean(key, there)
            raise ConfigError(
                f"{key}: there is no such argument{hint}; there are: {', '.join(there)}"
            )
    for key in ("out", "shares"):
        if key not in given:
            raise ConfigError(f"{key}: is missing; write out=FOLDER shares.train=9 shares.eval=1")
    values = {key: value for key, value in given.items() if key not in _RUN}
    if isinstance(values.get("by"), str):
        values["by"] = [values["by"]]
    wanted = typed(Split, values, {})
    check_split(wanted)
    return wanted


def _split(file: Path, wanted: Any, out: Path, given: Mapping[str, Any]) -> int:
    from mmrl.data.engines import map_items
    from mmrl.data.likeness import look_at
    from mmrl.data.mix import hash_file, items_of
    from mmrl.data.outputs import write_output
    from mmrl.data.records import count_records
    from mmrl.data.split import assign, kind_of
    from mmrl.data.spool import Spool

    if out.exists():
        raise DataError(f"out: {out} is there already; remove it or choose another name")
    ids: list[str] = []
    kinds: list[tuple[str, ...]] = []
    media: list[list[str]] = []
    bad = 0
    look = functools.partial(look_at, pictures=False, grams=False)
    engine, workers = given.get("engine", "local"), given.get("workers")
    total = count_records(file) or 0
    with Spool() as spool, progress("looking at", "rows") as report:
        for made in map_items(look, items_of(file), engine=engine, workers=workers):
            if "error" in made:
                bad += 1
                click.echo(f"mmrl: {made['error']}", err=True)
                continue
            spool.append(made["row"])
            ids.append(made["row"]["id"])
            kinds.append(kind_of(made["row"], wanted.by))
            media.append(made["like"]["media"])
            report(len(ids), max(total, len(ids)))
        twice = next((name for name, count in Counter(ids).items() if count > 1), None)
        if twice is not None:
            raise DataError(f"{file}: the id {twice} stands there twice; ids are unique")
        parts = assign(ids, kinds, media, wanted)
        sizes = {}
        for name in wanted.shares:
            mine = (spool[number] for number, part in enumerate(parts) if part == name)
            path = out / f"{name}{file.suffix}"
            sizes[name] = write_output(near_rows(mine, out), path, None)
    if not ids:
        raise DataError(f"{file}: holds no rows")
    manifest = {
        "split": dataclasses.asdict(wanted),
        "in": {"name": file.name, "hash": hash_file(file)},
        "out": {
            name: {"rows": count, "hash": hash_file(out / f"{name}{file.suffix}") if count else ""}
            for name, count in sizes.items()
        },
    }
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False)
    (out / "manifest.json").write_text(f"{text}\n", encoding="utf-8")
    for name, count in sizes.items():
        click.echo(f"{count} rows in {out / f'{name}{file.suffix}'}" if count else f"{name}: none")
    return bad
