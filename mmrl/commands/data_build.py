"""`mmrl data build`: run a pipeline; its rows and media appear when all are written."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import click

from mmrl.commands.nested import nested
from mmrl.data.pipelines import Split
from mmrl.errors import ConfigError, DataError
from mmrl.progress import progress
from mmrl.project import load_project

Build = Callable[[Path], None]
"""Runs the pipeline into a folder that is not there yet."""


@click.command()
@click.argument("name")
@click.argument(
    "arguments", nargs=-1, metavar="[in=FOLDER] out=PATH [seed=N] [split=train] [KEY=VALUE]..."
)
@click.option("--allow-skips", is_flag=True, help="End with 0 even where files had to be left out.")
@click.pass_context
def build(ctx: click.Context, name: str, arguments: tuple[str, ...], allow_skips: bool) -> None:
    """Run the data pipeline NAME; 'mmrl data list' says which there are and what they take.

    \b
    mmrl data build jigsaw in=photos out=rows.jsonl difficulty=0.5
    mmrl data build synthetic out=data/toy tasks.colour=200 tasks.pitch=200
    mmrl data build synthetic out=toy.parquet tasks.colour=200 split=heldout
    mmrl data build cold_start chain=vision_r1 in=rows.jsonl out=cold.jsonl

    PATH is a folder, a .jsonl file, beside which NAME.media/ holds the media, or a .parquet file
    that holds them itself. Files of the folder `in` of which no row can be made are named on
    standard error; the rest is built, and the exit code is 2.
    """
    project = load_project(ctx.find_root().obj)
    if name == "cold_start":
        # killed builds are removed; what teachers were paid for has to outlive them
        from mmrl.commands.cold_start import build_cold_start

        ctx.exit(build_cold_start(arguments, project, allow_skips=allow_skips))
    params = nested(arguments, texts=("out", "in"))
    out, seed, split = params.pop("out", None), params.pop("seed", 0), params.pop("split", "train")
    if not isinstance(out, str):
        raise ConfigError("out: say where to, for example out=data/toy or out=toy.parquet")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed: must be a whole number from 0 on, got {seed!r}")
    if split not in get_args(Split):
        raise ConfigError(f"split: must be train or heldout, got {split!r}")
    skipped = _build(name, params, Path(out), seed, split, project)
    if skipped and not (allow_skips or params.get("allow_skips") is True):
        click.echo(f"mmrl: {skipped} left out; --allow-skips accepts that", err=True)
        ctx.exit(2)


def _build(
    name: str, params: Mapping[str, Any], out: Path, seed: int, split: Split, project: Path
) -> int:
    """Build, say how many rows there are, and return how many files were left out."""
    from mmrl.data.sources import build_into

    _check_out(out)
    skipped = 0

    def on_skip(error: DataError) -> None:
        nonlocal skipped
        skipped += 1
        click.echo(f"mmrl: {error}", err=True)

    def run(folder: Path) -> None:
        with progress("building", "files") as on_file:
            build_into(
                folder,
                name,
                params,
                seed=seed,
                split=split,
                project=project,
                on_skip=on_skip,
                on_file=on_file,
            )

    out.parent.mkdir(parents=True, exist_ok=True)
    writers = {".parquet": _to_parquet, ".jsonl": _to_jsonl}
    count = writers.get(out.suffix, _to_folder)(out, run)
    click.echo(f"{count} rows in {out}")
    return skipped


def _check_out(out: Path) -> None:
    if out.suffix in (".json", ".csv"):
        raise ConfigError(f"out: {out}: give a folder, a .jsonl file or a .parquet file")
    taken = [out, *(_beside(out) if out.suffix == ".jsonl" else ())]
    for path in taken:
        if path.exists():
            raise DataError(f"out: {path} is there already; remove it or choose another name")


def _beside(out: Path) -> tuple[Path, Path]:
    """Say where the media and the manifest of a .jsonl file stand."""
    return out.with_name(f"{out.stem}.media"), out.with_name(f"{out.stem}.manifest.json")


def _to_folder(out: Path, run: Build) -> int:
    from mmrl.data.sources import MANIFEST_FILE

    run(out)
    return _count(out / MANIFEST_FILE)


def _to_parquet(out: Path, run: Build) -> int:
    from mmrl.data.rows import load_rows
    from mmrl.data.sources import ROWS_FILE
    from mmrl.data.writing import write_rows

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "built"
        run(folder)
        rows = load_rows(folder / ROWS_FILE)
        write_rows(rows, out, embed=True)
    return len(rows)


def _to_jsonl(out: Path, run: Build) -> int:
    """Build beside the file, then give everything its name, the file itself last."""
    from mmrl.data.sources import MANIFEST_FILE, ROWS_FILE

    media, manifest = _beside(out)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary) / "built"
        run(folder)
        rows = Path(temporary) / ROWS_FILE
        with (
            (folder / ROWS_FILE).open(encoding="utf-8") as lines,
            rows.open("w", encoding="utf-8", newline="\n") as file,
        ):
            file.writelines(_moved(line, media.name) for line in lines)
            file.flush()
            os.fsync(file.fileno())
        (folder / ROWS_FILE).unlink()
        (folder / MANIFEST_FILE).rename(manifest)
        if (folder / _MEDIA).is_dir():
            (folder / _MEDIA).rename(media)
        for other in list(folder.iterdir()):
            media.mkdir(exist_ok=True)
            other.rename(media / other.name)
        rows.rename(out)
    return _count(manifest)


_MEDIA = "media"


def _moved(line: str, media: str) -> str:
    """Return the row with its media where they are now: below `media` instead of `media/`."""
    raw = json.loads(line)
    for message in raw["prompt"]:
        for part in message["content"]:
            path = part.get(part["type"]) if part["type"] != "text" else None
            if isinstance(path, str) and not os.path.isabs(path):
                part[part["type"]] = f"{media}/{path.removeprefix(f'{_MEDIA}/')}"
    return f"{json.dumps(raw, ensure_ascii=False, allow_nan=False)}\n"


def _count(manifest: Path) -> int:
    return json.loads(manifest.read_text(encoding="utf-8"))["rows"]
