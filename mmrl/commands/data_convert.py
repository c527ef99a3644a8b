"""`mmrl data convert`: rows from other people's data, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mmrl.commands.nested import nested
from mmrl.errors import ConfigError, DataError
from mmrl.progress import progress
from mmrl.project import load_project
from mmrl.registry import did_you_mean

_GIVEN = {
    "in": "a file, a folder, a saved data set, or hub:owner/name",
    "out": "the file that is written; a name without a suffix is a saved data set",
    "from": "the format of what is read; rows if not given",
    "to": "the format of what is written; rows if not given",
    "media": "the folder where relative media paths start; that of the file if not given",
    "verifier": "the verifier of every row, instead of the format's",
    "source": "the source of every row, instead of the record's",
    "drop": "fields that are left out, as [a, b]",
    "ids": "keep, or number: make ids of file and number, the records' own go into extra",
    "find_media": "false: take rows whose media files are not there, too",
    "encoding": "of a table; UTF-8, or what its byte order mark says, if not given",
    "delimiter": "of a table; a comma, or a tab in .tsv, if not given",
    "split": "of a saved data set or of the hub's; train if not given",
    "engine": "local, processes or ray",
    "workers": "processes; as many as there are cores if not given",
    "report": "a .jsonl file that names every record that did not fit",
}
_TEXTS = ("in", "out", "media", "report", "encoding", "delimiter", "source", "split")


@click.command()
@click.argument("arguments", nargs=-1, metavar="from=FORMAT in=PATH out=PATH [KEY=VALUE]...")
@click.option("--allow-skips", is_flag=True, help="End with 0 even where records were left out.")
@click.option("--list", "show", is_flag=True, help="Print the formats and their parameters.")
@click.pass_context
def convert(ctx: click.Context, arguments: tuple[str, ...], allow_skips: bool, show: bool) -> None:
    """Make rows of another project's data, or another project's data of rows.

    \b
    mmrl data convert from=video_r1 in=Video-R1-260k.json media=videos out=rows.jsonl
    mmrl data convert from=csv in=fragen.csv columns.question=Frage encoding=cp1252 out=rows.jsonl
    mmrl data convert to=easyr1 in=rows.jsonl out=train.parquet
    mmrl data convert from=easyr1 in=hub:hiyouga/geometry3k split=train out=rows.parquet

    Fields that a format does not know go into a row's 'extra'. What does not fit is left out, its
    reasons are counted on standard error, and the exit code is 2.
    """
    project = load_project(ctx.find_root().obj)
    if show:
        _list(project)
        return
    given = nested(arguments, texts=_TEXTS)
    left_out = _convert(given, project)
    if left_out and not allow_skips:
        click.echo(f"mmrl: {left_out} left out; --allow-skips accepts that", err=True)
        ctx.exit(2)


def _list(project: Path) -> None:
    from mmrl.data.format import describe_formats, reader_parameters

    for found in describe_formats(project):
        ways = "from and to" if found.write else "from"
        click.echo(f"{found.name} ({ways}): {found.summary}")
        for name, parameter in reader_parameters(found).items():
            click.echo(f"  {name} ({parameter.default!r})")


def _convert(given: dict[str, Any], project: Path) -> int:
    from mmrl.data.convert import ROWS, Tally, convert_inputs
    from mmrl.data.format import find_format
    from mmrl.data.inputs import Input, open_inputs
    from mmrl.data.outputs import check_out, write_output

    source = None if given.get("from", ROWS) == ROWS else find_format(str(given["from"]), project)
    target = None if given.get("to", ROWS) == ROWS else find_format(str(given["to"]), project)
    conversion = _conversion(given, source, project)
    check_out(conversion.out, target)
    tally = Tally()
    skipped, total = 0, 0

    def streams() -> Any:
        nonlocal skipped, total
        suffixes = source.suffixes if source else (".jsonl", ".parquet")
        options = {key: given[key] for key in ("split", "encoding", "delimiter") if key in given}
        media = Path(given["media"]) if "media" in given else None
        for found in open_inputs(_needed(given, "in"), suffixes, media=media, **options):
            if isinstance(found, Input):
                total += found.count or 0
                yield found
            else:
                skipped += 1
                click.echo(f"mmrl: {found}", err=True)

    with progress("converting", "records") as report, _Report(given.get("report")) as listed:
        records = convert_inputs(
            conversion,
            streams(),
            tally,
            engine=given.get("engine", "local"),
            workers=_workers(given.get("workers")),
            on_record=lambda count: report(count, total if total > count else None),
            on_misfit=listed.add,
        )
        write_output(records, conversion.out, target)
    for line in tally.lines():
        click.echo(f"mmrl: {line}", err=True)
    if not tally.written:
        raise DataError(f"in: none of {tally.read} records fits; nothing is written")
    click.echo(f"{tally.written} of {tally.read} records in {conversion.out}")
    return tally.left_out + skipped


def _conversion(given: Mapping[str, Any], source: Any, project: Path) -> Any:
    from mmrl.data.convert import ROWS, Conversion
    from mmrl.data.format import check_reader_params, reader_parameters

    params = {key: value for key, value in given.items() if key not in _GIVEN}
    known = reader_parameters(source) if source else {}
    unknown = next((key for key in params if key not in known), None)
    if unknown is not None:
        there = [*_GIVEN, *known]
        hint = did_you_mean(unknown, there)
        raise ConfigError(
            f"{unknown}: there is no such argument{hint}; there are: {', '.join(there)}"
        )
    if given.get("ids", "keep") not in ("keep", "number"):
        raise ConfigError(f"ids: must be keep or number, got {given['ids']!r}")
    drop = given.get("drop", [])
    if not isinstance(drop, list) or not all(isinstance(key, str) for key in drop):
        raise ConfigError(f"drop: must be a list of fields as [a, b], got {drop!r}")
    if not isinstance(given.get("find_media", True), bool):
        raise ConfigError(f"find_media: must be true or false, got {given['find_media']!r}")
    return Conversion(
        source=str(given.get("from", ROWS)),
        target=str(given.get("to", ROWS)),
        out=Path(_needed(given, "out")),
        params=check_reader_params(source, params) if source else {},
        verifier=given.get("verifier"),
        name=given.get("source"),
        drop=tuple(drop),
        numbered=given.get("ids") == "number",
        find_media=given.get("find_media", True),
        project=project,
    )


def _needed(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{key}: is missing; give {_GIVEN[key]}")
    return value


def _workers(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigError(f"workers: must be a whole number from 1 on, got {value!r}")
    return value


class _Report:
    """Names every record that did not fit in a file, where one is wanted."""

    def __init__(self, path: str | None) -> None:
        self._file = open(path, "w", encoding="utf-8") if path else None  # noqa: SIM115

    def __enter__(self) -> _Report:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def add(self, name: str, reason: str) -> None:
        """Write down one record."""
        if self._file:
            self._file.write(f"{json.dumps({'id': name, 'reason': reason}, ensure_ascii=False)}\n")
