"""`mmrl data show`: a page of rows, to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmrl.commands.nested import nested
from mmrl.errors import ConfigError, DataError
from mmrl.progress import progress
from mmrl.project import load_project
from mmrl.registry import did_you_mean

_KNOWN = ("out", "limit", "verdicts")
_MAX_SAID = 20


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, metavar="[out=PAGE] [limit=200] [verdicts=true]")
@click.option("--allow-skips", is_flag=True, help="End with 0 even where rows were left out.")
@click.pass_context
def show(ctx: click.Context, file: Path, arguments: tuple[str, ...], allow_skips: bool) -> None:
    """Write an HTML page of the rows of FILE, with their pictures, videos and sounds.

    Boxes are drawn where the answer says, and each row's verifiers judge its own answer and its
    neighbour's; verdicts=false leaves them unasked. The page needs no network and no script. Rows
    that cannot be used are named on standard error, and the exit code is 2.
    """
    given = nested(arguments)
    limit, page = _settings(given, file)
    load_project(ctx.find_root().obj)
    bad = _show(file, page, limit, verdicts=given.get("verdicts", True))
    click.echo(str(page))
    if bad and not allow_skips:
        ctx.exit(2)


def _show(file: Path, page: Path, limit: int, *, verdicts: bool) -> int:
    from mmrl.data.page import write_page
    from mmrl.data.records import count_records
    from mmrl.data.rows import iter_rows
    from mmrl.data.verdicts import judge_golds
    from mmrl.judging.panel import Panel

    rows: list[Any] = []
    known = count_records(file) or 0
    total = bad = 0
    with progress("reading", "rows") as report:
        for found in iter_rows(file):
            if isinstance(found, DataError):
                bad += 1
                if bad <= _MAX_SAID:
                    click.echo(f"mmrl: {found}", err=True)
                continue
            total += 1
            report(total, max(total, known))
            if len(rows) < limit:
                rows.append(found)
    if bad > _MAX_SAID:
        click.echo(f"mmrl: {file}: {bad - _MAX_SAID} more rows are wrong", err=True)
    if not rows:
        raise DataError(f"{file}: holds no rows that can be shown")
    judged = None
    if verdicts:
        panel = Panel()
        try:
            judged = judge_golds(rows, panel)
        finally:
            panel.close()
    page.parent.mkdir(parents=True, exist_ok=True)
    write_page(rows, page, title=file.name, total=total, verdicts=judged)
    return bad


def _settings(given: dict[str, Any], file: Path) -> tuple[int, Path]:
    unknown = next((key for key in given if key not in _KNOWN), None)
    if unknown is not None:
        near = did_you_mean(unknown, _KNOWN)
        raise ConfigError(
            f"{unknown}: there is no such argument{near}; there are: {', '.join(_KNOWN)}"
        )
    limit = given.get("limit", 200)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigError(f"limit: must be a whole number from 1 on, got {limit!r}")
    if not isinstance(given.get("verdicts", True), bool):
        raise ConfigError(f"verdicts: must be true or false, got {given['verdicts']!r}")
    return limit, Path(str(given.get("out", file.with_suffix(".html"))))
